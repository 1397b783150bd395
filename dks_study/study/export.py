"""What ships of a trained trial, the backbone alone or the network cut at an exit: `dks-study export`.

As weights, a torch.export program or ONNX. Nothing is written before the weights load strictly into a freshly built
network and its logits equal those of `main`, or of the exit, in the trained one; and the file itself is read again and
compared before it gets its name. Its inputs are normalised images: what that means stands in the JSON file beside it.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dks_study.method.backbones import build_backbone
from dks_study.method.branches import BranchedNet, build_branched
from dks_study.method.exits import EarlyExit, Shipped, check_branch
from dks_study.method.networks import own_weights
from dks_study.spec.base import printable
from dks_study.spec.options import OptionParser, some_text
from dks_study.spec.pairing import MAIN
from dks_study.spec.trial import TrialSpec
from dks_study.study.claiming import claimed
from dks_study.study.formats import FORMATS, ExportError
from dks_study.study.ledger import write_whole
from dks_study.training.checkpoint import State, load_state
from dks_study.training.cost import Cost, count_alone, count_cost

PROBES = 4  # random images that logits are compared on
TOLERANCE = 1e-4  # of a compiled program against PyTorch: other kernels, other rounding
# The end of the name of what stands beside an export, and some of its keys.
_BESIDE, _TOLD = ".json", {"backbone", "trial_hash", "epochs", "averaged", "input"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = OptionParser(prog="dks-study export", description="Export a trial's backbone alone, or cut at an exit.")
    parser.add_argument("trial", type=Path, help="a trial's folder: results/STUDY/trials/TRIAL")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True)
    out = "the file to write; default: backbone.* or exit_*.* in the folder"
    parser.add_argument("--out", type=some_text("a file"), metavar="FILE", help=out)
    parser.add_argument(
        "--exit", help="the branch that ships with what it needs, such as stage1; default: the backbone"
    )
    given = parser.parse_args(arguments)
    try:
        print(export(given.trial, given.to, Path(given.out) if given.out else None, given.exit))
    except ExportError as error:
        print(f"dks-study export: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


def export(folder: Path, to: str, out: Path | None = None, name: str | None = None) -> str:
    """Write the backbone of the trial in `folder`, or its network cut at the exit `name`; return what was checked and
    what it costs.

    Raises:
        ExportError: if the trial cannot be read, the file cannot be written, or a check fails.
    """
    trained, (suffix, write, run) = _read(folder, name), FORMATS[to]
    path = out or folder / f"{trained.stem}{suffix}"
    temporary = _begun(path, suffix)
    images, shape = trained.probes(), trained.image_shape
    try:
        alone = _checked(trained, images)
        write(alone, images, temporary)
        with torch.inference_mode():
            expected = alone(images)
        tolerance = 0.0 if to == "weights" else TOLERANCE
        _same(run(temporary, images, lambda: trained.fresh(2)), expected, tolerance, temporary.name, trained.classifier)
        _describe(path, trained)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    whole = count_cost(trained_network(trained.trial, trained.state), shape)
    return _report(path, whole, count_alone(alone, shape), trained)


@dataclass(frozen=True)
class TrainedNetwork:
    """The network that ships of a trial, and what its inputs are.

    Attributes:
        network: the backbone alone, or cut at an exit, evaluating: normalised images [B, C, H, W] -> logits
            [B, classes]. A network from elsewhere is `network.plain()`.
        trial: the name of the trial.
        classes: labels are 0 to classes - 1.
        image_shape: (C, H, W) of the images that it was trained on.
        mean: of each channel of a pixel in [0, 1].
        std: likewise.
    """

    network: Shipped
    trial: str
    classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, images: Tensor) -> Tensor:
        """Return images uint8 [B, C, H, W] as the network takes them: (pixel in [0, 1] - mean) / std per channel.

        Raises:
            ExportError: if they are anything else, such as pixels in [0, 1].
        """
        channels = len(self.mean)
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.shape[1:2] != (channels,):
            got = f"{images.dtype} {list(images.shape)}" if hasattr(images, "shape") else type(images).__name__
            raise ExportError(f"images: must be a tensor uint8 [B, {channels}, H, W], got {got}")
        mean, std = (torch.tensor(each, device=images.device).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (images / 255 - mean) / std

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images uint8 [B, C, H, W]."""
        with torch.inference_mode():
            logits: Tensor = self.network(self.normalise(images))
        return logits


def load_trained(folder: Path, name: str | None = None) -> TrainedNetwork:
    """Return the backbone of the trial in `folder`, or its network cut at the exit `name`, checked as for an export.

    Raises:
        ExportError: as `export` does.
    """
    trained = _read(folder, name)
    alone, inputs = _checked(trained, trained.probes()), trained.state.inputs
    mean, std = tuple(inputs["mean"]), tuple(inputs["std"])
    return TrainedNetwork(alone.eval(), folder.name, inputs["classes"], trained.image_shape, mean, std)


def trained_network(trial: TrialSpec, state: State) -> BranchedNet:
    """Return the trial's own network with the weights that ship, evaluating."""
    net = _built(trial, state, trial.seed)
    net.load_state_dict(own_weights(state.shipped), strict=True)
    return net.eval()


def _built(trial: TrialSpec, state: State, seed: int) -> BranchedNet:
    (channels, *pixels), classes = state.inputs["image_shape"], state.inputs["classes"]
    return build_branched(trial.backbone, trial.branches, channels, classes, seed, (pixels[0], pixels[1]))


@dataclass(frozen=True)
class _Trained:
    """A whole trial, and which of its classifiers is to ship: None: the backbone's own."""

    trial: TrialSpec
    state: State
    name: str | None

    @property
    def classifier(self) -> str:
        return self.name or MAIN

    @property
    def stem(self) -> str:
        return f"exit_{self.name}" if self.name else "backbone"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.state.inputs["image_shape"]
        return channels, height, width

    def probes(self) -> Tensor:
        return torch.randn(PROBES, *self.image_shape, generator=torch.Generator().manual_seed(0))

    def fresh(self, more: int) -> Shipped:
        """Return what ships with the initial weights of the trial's seed and so many more.

        Raises:
            ExportError: if the network cannot be cut there.
        """
        seed, inputs = self.trial.seed + more, self.state.inputs
        if self.name is None:
            return build_backbone(self.trial.backbone, self.image_shape[0], inputs["classes"], seed)
        return _cut(_built(self.trial, self.state, seed), self.name)


def _cut(net: BranchedNet, name: str) -> EarlyExit:
    try:
        return EarlyExit(net, name)
    except ValueError as error:
        raise ExportError(f"--exit: {error}") from error


def _read(folder: Path, name: str | None) -> _Trained:
    try:
        trial = TrialSpec.model_validate_json((folder / "trial.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # what is no UTF-8, no JSON or no trial
        raise ExportError(f"trial: must be the folder of a trial (with trial.json), got {folder}") from error
    if name is not None:  # before what may be large is read, or is no more
        try:
            check_branch(name, trial.branches.taps)
        except ValueError as error:
            raise ExportError(f"--exit: {error}") from error
    state = load_state(folder / "last.pt", trial.content_hash())
    if state is None:
        rule = "must hold last.pt, a whole checkpoint of this very trial (a study's `keep` says which stay)"
        raise ExportError(f"trial: {rule}, got {folder}")
    if state.epoch < trial.epochs:
        raise ExportError(f"trial: must be trained to its end, got {state.epoch} of {trial.epochs} epochs in {folder}")
    return _Trained(trial, state, name)


def _checked(trained: _Trained, images: Tensor) -> Shipped:
    """Return freshly built what ships, with the trained weights, after comparing it with the trained network."""
    net, fresh = trained_network(trained.trial, trained.state), trained.fresh(1)
    ships = net.backbone if trained.name is None else _cut(net, trained.name)
    fresh.plain().load_state_dict(ships.plain().state_dict(), strict=True)
    with torch.inference_mode():
        logits = net(images)[trained.classifier]
        _same(fresh.eval()(images), logits, 0.0, f"{trained.stem} alone", trained.classifier)
    return fresh


def _same(found: Tensor, expected: Tensor, tolerance: float, what: str, classifier: str) -> None:
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance):
        largest = float((found - expected).abs().max())
        raise ExportError(f"{what}: its logits must equal those of `{classifier}`, got a difference of {largest:.3g}")


def _begun(path: Path, suffix: str) -> Path:
    """Make the file that will be `path`, if that is new or an earlier export.

    Raises:
        ExportError: if it is neither, or cannot be written.
    """
    try:
        temporary = claimed(path, f".tmp{suffix}", _BESIDE, _TOLD)
    except OSError as error:
        raise _unwritable(path, error) from error
    if temporary is None:
        rule = f"must be new, or an earlier export with its {path.name}{_BESIDE} beside it"
        raise ExportError(f"--out: {rule}, got {path}")
    return temporary


def _unwritable(path: Path, error: OSError) -> ExportError:
    return ExportError(f"--out: must be a file that can be written, got {path}: {error.strerror}")


def _describe(path: Path, trained: _Trained) -> None:
    """Say beside the file what it is, and how its inputs are normalised."""
    trial, state = trained.trial, trained.state
    exit_ = {"exit": trained.name, "branches": trial.branches.model_dump(mode="json")} if trained.name else {}
    content: dict[str, Any] = {
        "backbone": trial.backbone.model_dump(mode="json"),
        **exit_,
        "trial_hash": state.trial_hash,
        "epochs": state.epoch,
        "averaged": state.averaged is not None,
        "input": "float32 [batch, channels, height, width]: (pixel in [0, 1] - mean) / std per channel",
        **state.inputs,
    }
    write_whole(path.with_name(path.name + _BESIDE), json.dumps(content, indent=1) + "\n")


def _report(path: Path, whole: Cost, alone: tuple[int, int], trained: _Trained) -> str:
    parameters, macs = alone
    rows = [
        ("", "in training", "exported"),
        ("parameters", f"{whole.params_train:,}", f"{parameters:,}"),
        ("MACs per image", f"{whole.macs_train:,}", f"{macs:,}"),
        ("FLOPs per image", f"{2 * whole.macs_train:,}", f"{2 * macs:,}"),
    ]
    lines = [f"{name:<16}{before:>16}{after:>16}" for name, before, after in rows]
    network = f"network cut at {trained.name}" if trained.name else "unbranched network"
    checked = f"loads strictly into the {network}; logits equal those of `{trained.classifier}`"
    return "\n".join([*lines, f"{path}: {checked}"])


if __name__ == "__main__":
    sys.exit(main())
