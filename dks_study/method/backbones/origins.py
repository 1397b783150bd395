"""Networks written elsewhere: made by their own constructors, and how those of torchvision are laid out.

Each line of `_TORCHVISION` declares a family: its stem, the modules that hold its blocks, and its head.
"""

import copy
import difflib
import importlib
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torchvision import models

from dks_study.method.backbones.discover import discover
from dks_study.method.backbones.layout import PROBE_PIXELS, Layout, LayoutError, arrange, run, units
from dks_study.method.hollow import hollow
from dks_study.method.streams import seeded
from dks_study.method.tapping import check_logits
from dks_study.spec.backbone import ExternalSpec
from dks_study.spec.base import in_one_line

_MADE = WeakValueDictionary[int, nn.Module]()  # the networks that there are, by id
# torchvision's name begins with -> (stem, what holds the blocks, head)
_TORCHVISION: Mapping[str, tuple[str, str, str]] = {
    "resnet|resnext|wide_resnet": ("conv1 bn1 relu maxpool", "layer1 layer2 layer3 layer4", "avgpool :flatten fc"),
    "densenet": ("", "features", "features.norm5 :relu :pool :flatten classifier"),
    "mobilenet_v2": ("features.0", "features", ":pool :flatten classifier"),
    "mobilenet_v3": ("features.0", "features", "avgpool :flatten classifier"),
    "shufflenet": ("conv1 maxpool", "stage2 stage3 stage4 conv5", ":mean fc"),
    "vgg": ("", "features", "avgpool :flatten classifier"),
    "efficientnet": ("features.0", "features", "avgpool :flatten classifier"),
    "regnet": ("stem", "trunk_output", "avgpool :flatten fc"),
    "convnext": ("features.0", "features", "avgpool classifier"),
    "mnasnet": ("", "layers", ":mean classifier"),
    "googlenet": (
        "conv1 maxpool1 conv2 conv3 maxpool2",
        "inception3a inception3b maxpool3 inception4a inception4b inception4c inception4d inception4e maxpool4"
        " inception5a inception5b",
        "avgpool :flatten dropout fc",
    ),
}

# torchvision's name begins with -> why nobody need look for its stages, which takes long in such large networks
_STAGELESS: Mapping[str, str] = {
    "vit_": "it works on tokens and is not a chain of modules",
    "swin": "its blocks put out [B, H, W, C], not [B, C, H, W]",
}

# block, blocks of each stage -> depth
_RESNET_DEPTHS: Mapping[tuple[str, tuple[int, ...]], int] = {
    ("BasicBlock", (2, 2, 2, 2)): 18,
    ("BasicBlock", (3, 4, 6, 3)): 34,
    ("Bottleneck", (3, 4, 6, 3)): 50,
    ("Bottleneck", (3, 4, 23, 3)): 101,
    ("Bottleneck", (3, 8, 36, 3)): 152,
}


def is_torchvision_resnet(model: nn.Module) -> bool:
    """Is it a ResNet, ResNeXt or Wide ResNet of torchvision, whose blocks can be built in other widths?"""
    return isinstance(model, models.ResNet)


def torchvision_name(model: nn.Module) -> str | None:
    """Return how a plain ResNet of torchvision is named as a backbone; None for any other network."""
    net: Any = model
    if type(net) is not models.ResNet or (net.groups, net.base_width) != (1, 64):
        return None
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    depth = _RESNET_DEPTHS.get((type(net.layer1[0]).__name__, tuple(len(stage) for stage in stages)))
    return f"torchvision:resnet{depth}" if depth else None


def make(spec: ExternalSpec, in_channels: int, classes: int) -> nn.Module:
    """Return the network of `spec`, by its own constructor, with fresh weights from the global CPU generator.

    Raises:
        ValueError: one line that names the key, if there is no such network or it refuses the options.
    """
    try:
        return _construct(spec, in_channels, classes)
    except NotImplementedError:  # a constructor that computes with tensors cannot do so on the meta device
        try:
            with torch.device("cpu"):
                return hollow(_construct(spec, in_channels, classes)).train()
        except NotImplementedError as error:
            raise _not_made(spec, error) from error


def _construct(spec: ExternalSpec, in_channels: int, classes: int) -> nn.Module:
    origin, _, name = spec.name.partition(":")
    if origin == "torchvision":
        return _from_torchvision(name, spec, classes)
    if origin == "timm":
        return _from_timm(name, spec, in_channels, classes)
    return _from_module(origin, name, spec, in_channels, classes)


def layout_of(spec: ExternalSpec, model: nn.Module, empty: nn.Module, in_channels: int, classes: int) -> Layout:
    """Return how `model` is walked: as declared here, as its own `stages` say, or as it is seen to run.

    `empty` is a copy of it without data, in float32.

    Raises:
        LayoutError: one line that says the way out, if its stages cannot be found.
        ValueError: one line that names the key, if it does not give a logit for each of the classes.
    """
    probe = torch.empty(1, in_channels, PROBE_PIXELS, PROBE_PIXELS, device="meta")
    origin, _, name = spec.name.partition(":")
    try:
        for beginning, why in _STAGELESS.items():
            if origin == "torchvision" and name.startswith(beginning):
                raise LayoutError(why)
        for pattern, (stem, trunk, head) in _TORCHVISION.items():
            if origin == "torchvision" and re.match(pattern, name):
                declared = (*stem.split(), *head.split())
                return arrange(
                    empty,
                    tuple(stem.split()),
                    [*units(model, trunk.split(), declared)],
                    tuple(head.split()),
                    probe,
                )
        with torch.device("cpu"):  # what functions are called in between is told by numbers
            if next(model.parameters()).is_meta:
                with seeded(0, "probe"):
                    model = _construct(spec, in_channels, classes)
            layout, result = _found(model, in_channels)
    except LayoutError as error:
        ways = "name modules as taps, or give it `stages` and a `head` (and perhaps a `stem`) that run in turn"
        raise LayoutError(
            f"backbone.name: must be a network with stages that can be found, got {spec.name!r}: {error}; {ways}"
        ) from error
    try:
        check_logits(result, spec.output, classes)
    except ValueError as error:
        raise ValueError(f"backbone.{error}") from error
    return layout


def renewed(model: nn.Module) -> nn.Module:
    """Return a copy of `model` in which every module has drawn new weights, from the global CPU generator.

    Raises:
        ValueError: one line, if a module with weights of its own does not say how (`reset_parameters`).
    """
    if name := not_renewable(model):
        raise ValueError(f"branches.recipe: tail needs modules with reset_parameters, which {name} lacks, got 'tail'")
    fresh = copy.deepcopy(model).cpu()
    for module in fresh.modules():
        reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    return fresh


def not_renewable(model: nn.Module) -> str:
    """Return the first module that has weights of its own and no `reset_parameters`, or nothing."""
    for name, module in model.named_modules():
        if not hasattr(module, "reset_parameters") and next(module.parameters(recurse=False), None) is not None:
            return name or type(model).__name__
    return ""


def _found(model: nn.Module, in_channels: int) -> tuple[Layout, Tensor]:
    """Return the layout that its own `stages` tell, or else its run, and what it computes, which the network does."""
    images = torch.randn(1, in_channels, PROBE_PIXELS, PROBE_PIXELS, generator=torch.Generator().manual_seed(0))
    has_stages = isinstance(getattr(model, "stages", None), nn.Sequential | nn.ModuleDict | nn.ModuleList)
    watched = _shaken(model)
    try:
        layout = _own_stages(watched) if has_stages else discover(watched, images)
        blocks = (block for stage in layout.stages for block in stage)
        everything = (*layout.stem, *(step for block in blocks for step in block), *layout.head)
        with torch.no_grad():
            same = torch.equal(result := run(watched, everything, images), watched(images))
    except LayoutError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's code may raise
        raise LayoutError(in_one_line(error)) from error
    if not same:
        raise LayoutError("the modules that were seen do not compute what the network computes")
    return layout, result


def _shaken(model: nn.Module) -> nn.Module:
    """Return an evaluating copy with random norms: behind a fresh one a ReLU may change nothing, and not be seen."""
    shaken, random = copy.deepcopy(model).cpu().float().eval(), torch.Generator().manual_seed(1)
    for name, values in (*shaken.named_parameters(), *shaken.named_buffers()):
        if values.ndim == 1 and values.is_floating_point() and not name.endswith("running_var"):
            values.data.copy_(torch.randn(values.shape, generator=random))
    return shaken


def _own_stages(model: nn.Module) -> Layout:
    """Return the layout of a network with `stages` and a `head`, and perhaps a `stem`."""
    if not isinstance(getattr(model, "head", None), nn.Module):
        raise LayoutError("it has stages, but no module named head")
    stages = tuple(
        tuple((unit,) for unit in units(model, [f"stages.{name}"]))
        for name, _ in model.get_submodule("stages").named_children()
    )
    if len(stages) < 2:
        raise LayoutError(f"it has {len(stages)} stage(s), and a branch needs one to follow")
    return Layout(("stem",) if isinstance(getattr(model, "stem", None), nn.Module) else (), stages, ("head",))


def _from_torchvision(name: str, spec: ExternalSpec, classes: int) -> nn.Module:
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"backbone.name: must be a classification network of torchvision{_near(name, known)}, got {spec.name!r}"
        )
    # Auxiliary outputs of GoogLeNet and Inception are branches of their own: ours take their place.
    plain = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return _called(spec, models.get_model, name, weights=None, num_classes=classes, **plain)


def _from_timm(name: str, spec: ExternalSpec, in_channels: int, classes: int) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(f"backbone.name: needs the extra timm (pip install '.[timm]'), got {spec.name!r}") from error
    if not timm.is_model(name):
        raise ValueError(
            f"backbone.name: must be a network of timm{_near(name, timm.list_models())}, got {spec.name!r}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own deprecated parts
        return _called(spec, timm.create_model, name, pretrained=False, num_classes=classes, in_chans=in_channels)


def _from_module(module: str, name: str, spec: ExternalSpec, in_channels: int, classes: int) -> nn.Module:
    try:
        factory = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever somebody's code may raise
        rule = "must be an importable package.module:callable"
        raise ValueError(f"backbone.name: {rule}, got {spec.name!r}: {in_one_line(error)}") from error
    return _called(spec, factory, in_channels=in_channels, classes=classes)


def _called(spec: ExternalSpec, factory: Callable[..., object], *names: str, **arguments: object) -> nn.Module:
    """Return what a constructor makes of `arguments` and the options.

    Raises:
        NotImplementedError: if it cannot be called on the device that is set.
        ValueError: one line that names the key, if it fails or makes no network that can be trained.
    """
    try:
        network = factory(*names, **arguments, **spec.options)
    except NotImplementedError:
        raise
    except TypeError as error:
        rule = f"must be what {spec.name} takes, got {spec.options}"
        raise ValueError(f"backbone.options: {rule}: {in_one_line(error)}") from error
    except (Exception, SystemExit) as error:  # whatever somebody's code may raise
        raise _not_made(spec, error) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"backbone.name: must return a torch.nn.Module, got {type(network).__name__} of {spec.name!r}")
    if lazy := next((name for name, each in network.named_parameters() if is_lazy(each)), None):
        raise ValueError(f"backbone.name: must have weights of known shapes, got lazy {lazy} of {spec.name!r}")
    if not any(each.requires_grad for each in network.parameters()):
        raise ValueError(f"backbone.name: must have weights to train, got none of {spec.name!r}")
    if other := {each.dtype for each in network.parameters() if each.is_floating_point()} - {torch.float32}:
        raise ValueError(f"backbone.name: must have weights in float32, got {other.pop()} of {spec.name!r}")
    if _MADE.get(id(network)) is network:  # or a trial would begin with what another has learnt
        raise ValueError(f"backbone.name: must make a new network at every call, got the same of {spec.name!r}")
    _MADE[id(network)] = network
    return network


def _not_made(spec: ExternalSpec, error: BaseException) -> ValueError:
    return ValueError(f"backbone.name: must be a network that can be made, got {spec.name!r}: {in_one_line(error)}")


def copied_hollow(spec: ExternalSpec, model: nn.Module) -> nn.Module:
    """Return a copy of `model` without data, in float32.

    Raises:
        ValueError: one line that names the key, if it cannot be copied, as where it holds a lock or an open file.
    """
    try:
        return hollow(model).float()
    except (Exception, SystemExit) as error:  # whatever somebody's code may raise
        rule = "must be a network that can be copied (copy.deepcopy)"
        raise ValueError(f"backbone.name: {rule}, got {spec.name!r}: {in_one_line(error)}") from error


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else ""
