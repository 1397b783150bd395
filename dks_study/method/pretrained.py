"""Weights that training starts from (`backbone.weights`): a file, or what torchvision or timm publishes by a name."""

import importlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dks_study.method.backbones import Backbone
from dks_study.spec.backbone import BackboneSpec
from dks_study.spec.shipped import found

_SHOWN_KEYS = 3
_COUNTS = "num_batches_tracked"  # of batch norm, which uses none of them here; older files have none


def start_from(backbone: Backbone, spec: BackboneSpec, classes: int) -> tuple[str, ...]:
    """Give `backbone` the weights that `spec` names, if it names any; return the keys of a last layer left out.

    That is what differs from its place in the network in the number of classes alone.

    Raises:
        ValueError: one line that names the key, if there are no such weights or they are of another network.
    """
    if spec.weights is None:
        return ()
    network, got = backbone.plain(), f"got {spec.weights!r}"
    state = read_state(weights_path(spec), "backbone.weights", got, next(network.parameters()).device)
    wanted = network.state_dict()
    shapes = {key: (value.shape, wanted[key].shape) for key, value in state.items() if key in wanted}
    other = [key for key, (theirs, ours) in shapes.items() if theirs != ours]
    head = tuple(key for key in other if _is_of_other_classes(*shapes[key], classes))
    fits = {key: value for key, value in state.items() if key in wanted and key not in other}
    missing = {key for key in wanted.keys() - state.keys() if not key.endswith(_COUNTS)}
    wrong = (
        ("missing", missing),
        ("not in the network", state.keys() - wanted),
        ("of another shape", {*other} - {*head}),
    )
    if problems := [f"{_some(keys)} {what}" for what, keys in wrong if keys]:
        raise ValueError(
            f"backbone.weights: must be those of {spec.name} as it is described, {got}: {'; '.join(problems)}"
        )
    network.load_state_dict({**wanted, **fits})
    backbone.pretrained = frozenset(name for name, _ in network.named_parameters()) & fits.keys()
    return head


def _is_of_other_classes(theirs: Sequence[int], ours: Sequence[int], classes: int) -> bool:
    return len(ours) > 0 and ours[0] == classes and theirs[1:] == ours[1:]


def _some(keys: Collection[str]) -> str:
    shown, more = sorted(keys)[:_SHOWN_KEYS], len(keys) - _SHOWN_KEYS
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def read_state(path: Path, key: str, got: str, device: torch.device) -> Mapping[str, Tensor]:
    """Return the state_dict in a file; `key` and `got` are what a message begins with and what it ends with.

    Raises:
        ValueError: one line, if it cannot be read or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            with torch.device("cpu"):
                state = importlib.import_module("safetensors.torch").load_file(path)
            state = {name: value.to(device) for name, value in state.items()}
        else:
            state = torch.load(path, map_location=device, weights_only=True)
    except ImportError as error:
        raise ValueError(f"{key}: .safetensors needs the extra timm (pip install '.[timm]'), {got}") from error
    except Exception as error:  # whatever a damaged file makes of its reader
        rule = "must be a file of weights (dks-study export TRIAL --to weights)"
        raise ValueError(f"{key}: {rule}, {got}: {str(error).splitlines()[0]}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{key}: must hold a state_dict, {got}")
    return state


def weights_path(spec: BackboneSpec) -> Path:
    """Return the file of the weights that `spec` names: as it is given, or where torchvision or timm keeps it.

    What they publish is fetched where it is not in their cache.

    Raises:
        ValueError: one line that names the key, if there is none.
    """
    assert spec.weights is not None
    path, (origin, _, name) = found(spec.weights), spec.name.partition(":")
    if path.is_file():
        return path
    try:
        if origin == "torchvision":
            return _of_torchvision(name, spec.weights)
        if origin == "timm":
            return _of_timm(name, spec.weights)
    except Exception as error:  # each hub has errors of its own for a name that is not there, or for no network
        reason = " ".join(str(error).split()) or type(error).__name__
        rule = f"must be a file, or weights of {origin} that are in its cache or can be fetched"
        raise ValueError(f"backbone.weights: {rule}, got {spec.weights!r}: {reason}") from error
    raise ValueError(f"backbone.weights: must be a file, got {spec.weights!r}")


def _of_torchvision(name: str, weights: str) -> Path:
    from torchvision import models

    published = {each.name: each for each in models.get_model_weights(name)}
    if weights not in published:
        raise ValueError(f"{name} has {', '.join(published) or 'none'}")
    url = str(published[weights].url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rpartition("-")[2]  # of the content, in the file's name
        torch.hub.download_url_to_file(url, str(path), digest, progress=False)
    return path


def _of_timm(name: str, weights: str) -> Path:
    models, hub = importlib.import_module("timm.models"), importlib.import_module("huggingface_hub")
    published = models.list_pretrained(f"{name}.*")
    if f"{name}.{weights}" not in published:
        raise ValueError(f"{name} has {', '.join(each.partition('.')[2] for each in published) or 'none'}")
    place = {"repo_id": models.get_pretrained_cfg(f"{name}.{weights}").hf_hub_id, "filename": "model.safetensors"}
    cached = hub.try_to_load_from_cache(**place)
    return Path(cached if isinstance(cached, str) else hub.hf_hub_download(**place))
