"""The method in a training loop of one's own: three lines around any network.

    net = branched(model, taps=["layer2", "layer3"], classes=10)
    loss = SynergyLoss(pairing="dense")
    loss(net(images), labels).total.backward()

`model` is trained inside `net`, untouched, and ships as it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dks_study.method.backbones import Backbone, Walked, Watched
from dks_study.method.backbones.layout import PROBE_PIXELS, LayoutError
from dks_study.method.branches import BranchedNet, module_site
from dks_study.method.growth import Site, grow, stage_site
from dks_study.method.own_loss import LoopError
from dks_study.method.probing import Probed, probe
from dks_study.method.streams import seeded
from dks_study.method.tapping import check_logits
from dks_study.spec.backbone import BackboneSpec, ExternalSpec, check_module_name, is_stage
from dks_study.spec.branches import BranchSpec
from dks_study.spec.wording import values_problem


def branched(
    model: nn.Module,
    taps: Sequence[str],
    classes: int,
    *,
    output: int | str | None = None,
    example: Tensor | None = None,
    **branches: object,
) -> BranchedNet:
    """Return `model` with an auxiliary classifier at each tap: images [B, C, H, W] -> logits [B, classes] by name.

    The names are the taps, shallow to deep (as their modules first run to their ends), and `main`, the model's own.
    `model` itself is trained inside, is `net.plain()`, and can be used alone at any time; `net` always has all
    classifiers, also while it evaluates. It is run once here, evaluating, and nothing about it changes. Of a module
    that runs several times in a pass the first time counts. The branches' initial weights follow from
    `torch.initial_seed()` and each tap's name; no random stream is drawn from.

    Args:
        model: any classifier of images.
        taps: names of modules that put out feature maps [B, C, H, W], [B, H, W, C] or tokens [B, N, C], as in
            `model.named_modules()`; or stages (`stage2`, or `stage2.3` for its third block), if the model is a chain of
            modules.
        classes: number of classes, at least 2.
        output: which of several values that the model returns is the logits, by position, key or attribute; None: the
            only one of shape [B, classes].
        example: a few images, if the model does not take [2, C, 224, 224] with the channels of its first convolution.
        **branches: keys of `branches` in a study (`BranchSpec`): recipe, depth_factor, blocks, width, width_by_tap.

    Raises:
        LoopError: one line that names the argument, the rule and the value.
    """
    try:
        return _branched(model, taps, classes, output, example, branches)
    except ValidationError as error:
        raise LoopError(values_problem(error.errors(), BranchSpec, "branched")) from error
    except ValueError as error:
        raise LoopError(str(error).removeprefix("branches.")) from error


def _branched(
    model: nn.Module,
    taps: Sequence[str],
    classes: int,
    output: int | str | None,
    example: Tensor | None,
    branches: Mapping[str, object],
) -> BranchedNet:
    keys = BranchSpec.model_validate_json(
        json.dumps({"taps": taps if isinstance(taps, str) else list(taps), **branches}, default=str)
    )
    if hasattr(model, "_orig_mod") or model._compiled_call_impl is not None:  # would run past the taps
        raise ValueError(f"model: must be compiled with its branches around it, got a compiled {type(model).__name__}")
    images = _example(model) if example is None else example[:2]
    try:
        probed = probe(model, images)
    except ValueError as error:
        raise ValueError(f"example: must be images that the model takes, got {list(images.shape)}: {error}") from error
    check_logits(probed.result, output, classes)
    spec, walked = _stages(model, keys, images.shape[1], classes)
    modules = {tap: _module_at(tap, model, walked) for tap in keys.taps}
    taps = sorted(modules, key=lambda tap: probed.position(probed.find(modules[tap]).tap.name))
    grown = {tap: _branch(_site(model, tap, modules[tap], probed, walked), spec, keys, classes) for tap in taps}
    for tap, branch in grown.items():
        feature = probed.find(modules[tap])
        branch.to(feature.device, feature.dtype)
    renamed = {tap: module for tap, module in modules.items() if tap != module}
    net = BranchedNet(Watched(model, classes, output=output, modules=renamed), grown)
    net.branches.train(model.training)
    return net


def _example(model: nn.Module) -> Tensor:
    """Return images that the model might take."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise ValueError("example: must be given for a model without convolutions, got None")
    weight = first.weight
    return torch.zeros(2, first.in_channels, PROBE_PIXELS, PROBE_PIXELS, device=weight.device, dtype=weight.dtype)


def _stages(model: nn.Module, keys: BranchSpec, channels: int, classes: int) -> tuple[BackboneSpec, Walked | None]:
    """Return what describes the model's published branches, and the model walked stage by stage if it can be.

    Nobody looks for stages that no tap and no recipe asks for. A chain whose blocks cannot be renewed has none for
    `auto`, which then comes to bottlenecks.
    """
    from dks_study.method.backbones.external import External  # these need torchvision, which takes a second to import
    from dks_study.method.backbones.origins import not_renewable, torchvision_name

    spec = ExternalSpec(name=torchvision_name(model) or f"own:{type(model).__name__}")
    if isinstance(model, Backbone):
        return model.spec or spec, model if isinstance(model, Walked) else None
    asked = any(is_stage(tap) for tap in keys.taps)
    if not asked and (keys.recipe in ("bottleneck", "linear") or (keys.recipe == "auto" and not_renewable(model))):
        return spec, None
    if any(parameter.is_meta for parameter in model.parameters()):  # it cannot be seen to run without numbers
        return spec, None
    try:
        return spec, External(spec, channels, classes, model)
    except LayoutError:
        return spec, None


def _module_at(tap: str, model: nn.Module, walked: Walked | None) -> str:
    """Return the module that a tap names, directly or as a stage; a module of that name comes first."""
    check_module_name(tap)
    if walked is None or not is_stage(tap) or tap in dict(model.named_modules(remove_duplicate=False)):
        return tap
    module = walked.module_at(walked.tap(tap).name)
    if module is None:
        raise ValueError(f"taps: must be modules where a function ends a stage of this model, got {tap!r}")
    return module


def _site(model: nn.Module, tap: str, module: str, probed: Probed, walked: Walked | None) -> Site:
    """Return the place at a module: that of the stage that it ends, if there is one."""
    feature = probed.find(module)
    place = replace(feature.tap, name=tap)
    for stage in (*walked.taps[:-1], *walked.inner_taps) if walked else ():
        if walked and walked.module_at(stage.name) in feature.twins:
            return stage_site(walked, stage.name, place)
    return replace(module_site(model, feature, probed, None), tap=place)


def _branch(site: Site, spec: BackboneSpec, keys: BranchSpec, classes: int) -> nn.Module:
    with seeded(torch.initial_seed(), "branch", site.tap.name):
        return grow(site, spec, keys, classes)
