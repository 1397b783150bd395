"""Branches of transformers: grown at blocks that put out tokens [B, N, C] or channels last, [B, H, W, C].

A branch is a head like the network's own (layer norm; its class token if it has one, else the mean of the tokens), with
the recipe `tail` behind a share of the blocks that follow, with fresh weights.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from dks_study.spec.backbone import ExternalSpec
from dks_study.spec.branches import BranchSpec, recipe_at

CLASS_TOKENS = ("class_token", "cls_token")  # how torchvision and timm call it


@dataclass(frozen=True)
class TokenPlace:
    """What a branch needs to know of a network that works on tokens.

    Attributes:
        epsilon: of its last layer norm.
        has_class_token: is the first token the class token?
        following: names of the modules that come after the tapped one in its sequence, then of those that come after
            that sequence in the one that it is in itself, and so on; no group of them is empty.
        in_channels: channels that it is shown; None: nobody knows how to make another network like it.
    """

    epsilon: float
    has_class_token: bool
    following: tuple[tuple[str, ...], ...]
    in_channels: int | None


class TokenHead(nn.Module):
    """Layer norm, class token or mean of all tokens, linear layer: [B, N, C] or [B, H, W, C] -> logits [B, classes]."""

    def __init__(self, channels: int, classes: int, epsilon: float, has_class_token: bool) -> None:
        """Build a head with fresh weights."""
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(channels, eps=epsilon), nn.Linear(channels, classes)
        self.has_class_token = has_class_token

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        tokens = self.norm(tokens.flatten(1, -2))
        logits: Tensor = self.fc(tokens[:, 0] if self.has_class_token else tokens.mean(1))
        return logits


def token_place(model: nn.Module, tap: str, in_channels: int | None) -> TokenPlace:
    """Return what the branch at module `tap` of `model` needs to know."""
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    has_class_token = any(isinstance(getattr(model, name, None), nn.Parameter) for name in CLASS_TOKENS)
    return TokenPlace(norms[-1].eps if norms else 1e-6, has_class_token, _following(model, tap), in_channels)


def _following(model: nn.Module, name: str) -> tuple[tuple[str, ...], ...]:
    parent, _, last = name.rpartition(".")
    sequence = model.get_submodule(parent)
    if not name or not isinstance(sequence, nn.Sequential | nn.ModuleList):
        return ()
    names = [child for child, _ in sequence.named_children()]
    after = tuple(f"{parent}.{child}".lstrip(".") for child in names[names.index(last) + 1 :])
    return ((after,) if after else ()) + _following(model, parent)


def grow_at_tokens(
    place: TokenPlace, name: str, channels: int, backbone: ExternalSpec, branches: BranchSpec, classes: int
) -> nn.Sequential:
    """Return the branch at a tap called `name`, which draws from the global CPU generator.

    `auto` is `linear` in a network that is given as an object; otherwise what its description says.

    Raises:
        ValueError: one line that names the key, if it cannot grow there.
    """
    recipe = recipe_at(backbone, branches, None)
    if branches.recipe == "auto" and place.in_channels is None:
        recipe = "linear"
    if recipe not in ("linear", "tail"):
        rule = f"must be linear or tail at {name}, which puts out tokens"
        raise ValueError(f"branches.recipe: {rule}, got {branches.recipe!r}")
    _check_keys(branches, recipe, name)
    parts: list[nn.Module] = []
    if recipe == "tail":
        if place.in_channels is None:
            rule = f"must be linear at {name}, which puts out tokens, in a network that is given as an object"
            raise ValueError(f"branches.recipe: {rule}, got 'tail'")
        if not place.following:
            rule = f"must be linear at {name}, as no block of its sequence follows"
            raise ValueError(f"branches.recipe: {rule}, got 'tail'")
        parts = _fresh_blocks(place.following, place.in_channels, backbone, branches.depth_factor, classes)
        channels = _width(parts[-1])
    return nn.Sequential(*parts, TokenHead(channels, classes, place.epsilon, place.has_class_token))


def _check_keys(branches: BranchSpec, recipe: str, name: str) -> None:
    """Check that no key is given that a branch at tokens has no use for.

    Raises:
        ValueError: one line that begins with the key.
    """
    unused = {"blocks": branches.blocks, "width": branches.width, "width_by_tap": branches.width_by_tap}
    unused |= {"depth_factor": branches.depth_factor != 1 and recipe == "linear"}
    for key in (key for key, is_given in unused.items() if is_given):
        rule = f"must be left out at {name}, where there are tokens and recipe {recipe}"
        raise ValueError(f"branches.{key}: {rule}, got {getattr(branches, key)!r}")


def _fresh_blocks(
    groups: tuple[tuple[str, ...], ...], in_channels: int, backbone: ExternalSpec, share: float, classes: int
) -> list[nn.Module]:
    """Return a share of the blocks in `groups` of a second network that the same constructor makes, the first ones.

    Where a group holds stages each keeps its share, and what leads from one to the next is kept.
    """
    from dks_study.method.backbones.origins import make  # needs torchvision, which takes a second to import

    fresh, kept = make(backbone, in_channels, classes), list[nn.Module]()
    for group in groups:
        modules = [fresh.get_submodule(name) for name in group]
        if any(map(_blocks, modules)):
            kept += [_shortened(module, share) for module in modules]
        else:
            kept += modules[: _share(len(modules), share)]
    return kept


def _blocks(module: nn.Module) -> nn.Sequential | None:
    """Return the blocks of a stage: a sequence in torchvision's Swin, one that a stage holds in timm's; None: none."""
    inner = getattr(module, "blocks", module)
    return inner if isinstance(inner, nn.Sequential) else None


def _shortened(module: nn.Module, share: float) -> nn.Module:
    blocks = _blocks(module)
    if blocks is None:
        return module
    fewer = blocks[: _share(len(blocks), share)]
    if blocks is module:
        return fewer
    module.blocks = fewer
    return module


def _share(blocks: int, share: float) -> int:
    return math.ceil(share * blocks - 1e-9)


def _width(module: nn.Module) -> int:
    """Return the channels that a block puts out, which are those of its last linear layer."""
    return [each for each in module.modules() if isinstance(each, nn.Linear)][-1].out_features
