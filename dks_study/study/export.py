"""The backbone of a trained trial alone, as weights, a torch.export program or ONNX: `dks-study export`.

Nothing is written before the weights load strictly into a freshly built, unbranched network and that network's logits
equal those of `main` in the trained one; and the file itself is read again and compared before it gets its name. Its
inputs are normalised images: what that means stands in the JSON file beside it.
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dks_study.method.backbones import Backbone, build_backbone
from dks_study.method.branches import BranchedNet, build_branched
from dks_study.method.networks import own_weights
from dks_study.spec.base import Problem
from dks_study.spec.options import OptionParser
from dks_study.spec.trial import TrialSpec
from dks_study.study.ledger import write_whole
from dks_study.training.checkpoint import State, load_state
from dks_study.training.cost import Cost, count_cost

PROBES = 4  # random images that logits are compared on
TOLERANCE = 1e-4  # of a compiled program against PyTorch: other kernels, other rounding


class ExportError(Problem, ValueError):
    """The trial cannot be exported; the message is one line."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = OptionParser(prog="dks-study export", description="Export a trial's backbone alone.")
    parser.add_argument("trial", type=Path, help="a trial's folder: results/STUDY/trials/TRIAL")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True)
    parser.add_argument("--out", type=Path, help="the file to write; default: backbone.* in the trial's folder")
    given = parser.parse_args(arguments)
    try:
        print(export(given.trial, given.to, given.out))
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def export(folder: Path, to: str, out: Path | None = None) -> str:
    """Write the backbone of the trial in `folder` and return what was checked and what it costs.

    Raises:
        ExportError: if the trial cannot be read, the file cannot be written, or a check fails.
    """
    trial, state = _read(folder)
    suffix, write, run = FORMATS[to]
    path = out or folder / f"backbone{suffix}"
    net = trained_network(trial, state)
    images = torch.randn(PROBES, *state.inputs["image_shape"], generator=torch.Generator().manual_seed(0))
    alone = _checked_backbone(trial, state, net, images)
    temporary = path.with_name(f"{path.name}.tmp{suffix}")
    try:
        temporary.touch()  # says plainly where nothing can be written
        write(alone, images, temporary)
        with torch.inference_mode():
            expected = alone(images)
        _same(run(temporary, images, trial, state), expected, 0.0 if to == "weights" else TOLERANCE, temporary.name)
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"--out: must be a file that can be written, got {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _describe(path, trial, state)
    return _report(path, count_cost(net, tuple(state.inputs["image_shape"])))


@dataclass(frozen=True)
class TrainedNetwork:
    """The network that ships of a trial, and what its inputs are.

    Attributes:
        network: the backbone alone, evaluating: normalised images [B, C, H, W] -> logits [B, classes]. A network from
            elsewhere is `network.plain()`.
        trial: the name of the trial.
        classes: labels are 0 to classes - 1.
        image_shape: (C, H, W) of the images that it was trained on.
        mean: of each channel of a pixel in [0, 1].
        std: likewise.
    """

    network: Backbone
    trial: str
    classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, images: Tensor) -> Tensor:
        """Return images uint8 [B, C, H, W] as the network takes them: (pixel in [0, 1] - mean) / std per channel."""
        mean, std = (torch.tensor(each, device=images.device).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (images / 255 - mean) / std

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images uint8 [B, C, H, W]."""
        with torch.inference_mode():
            logits: Tensor = self.network(self.normalise(images))
        return logits


def load_trained(folder: Path) -> TrainedNetwork:
    """Return the backbone of the trial in `folder` after the checks of an export.

    Raises:
        ExportError: as `export` does.
    """
    trial, state = _read(folder)
    shape = tuple(state.inputs["image_shape"])
    images = torch.randn(PROBES, *shape, generator=torch.Generator().manual_seed(0))
    alone = _checked_backbone(trial, state, trained_network(trial, state), images)
    mean, std = tuple(state.inputs["mean"]), tuple(state.inputs["std"])
    return TrainedNetwork(alone.eval(), folder.name, state.inputs["classes"], shape, mean, std)


def trained_network(trial: TrialSpec, state: State) -> BranchedNet:
    """Return the trial's own network with the weights that ship, evaluating."""
    (channels, *pixels), classes = state.inputs["image_shape"], state.inputs["classes"]
    net = build_branched(trial.backbone, trial.branches, channels, classes, trial.seed, (pixels[0], pixels[1]))
    net.load_state_dict(own_weights(state.shipped), strict=True)
    return net.eval()


def _read(folder: Path) -> tuple[TrialSpec, State]:
    try:
        trial = TrialSpec.model_validate_json((folder / "trial.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ExportError(f"trial: must be the folder of a trial (with trial.json), got {folder}") from error
    state = load_state(folder / "last.pt", trial.content_hash())
    if state is None:
        rule = "must hold last.pt, a whole checkpoint of this very trial (a study's `keep` says which stay)"
        raise ExportError(f"trial: {rule}, got {folder}")
    if state.epoch < trial.epochs:
        raise ExportError(f"trial: must be trained to its end, got {state.epoch} of {trial.epochs} epochs in {folder}")
    return trial, state


def _checked_backbone(trial: TrialSpec, state: State, net: BranchedNet, images: Tensor) -> Backbone:
    """Return a freshly built backbone with the trained weights, after comparing it with the trained network."""
    fresh = build_backbone(trial.backbone, state.inputs["image_shape"][0], state.inputs["classes"], seed=trial.seed + 1)
    fresh.plain().load_state_dict(net.backbone.plain().state_dict(), strict=True)
    with torch.inference_mode():
        _same(fresh.eval()(images), net(images)["main"], 0.0, "the backbone alone")
    return fresh


def _same(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance):
        largest = float((found - expected).abs().max())
        raise ExportError(f"{what}: its logits must equal those of `main`, got a difference of {largest:.3g}")


def _write_weights(net: Backbone, images: Tensor, path: Path) -> None:
    torch.save(net.plain().state_dict(), path)


def _run_weights(path: Path, images: Tensor, trial: TrialSpec, state: State) -> Tensor:
    again = build_backbone(trial.backbone, state.inputs["image_shape"][0], state.inputs["classes"], seed=trial.seed + 2)
    again.plain().load_state_dict(torch.load(path, weights_only=True), strict=True)
    with torch.inference_mode():
        logits: Tensor = again.eval()(images)
    return logits


def _write_program(net: Backbone, images: Tensor, path: Path) -> None:
    torch.export.save(_program(net, images), path)


def _run_program(path: Path, images: Tensor, trial: TrialSpec, state: State) -> Tensor:
    logits: Tensor = torch.export.load(path).module()(images)
    return logits


def _program(net: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _write_onnx(net: Backbone, images: Tensor, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it and says so in many lines
    except ImportError as error:
        raise ExportError("--to: onnx needs the extra onnx (pip install '.[onnx]'), got onnx") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(_program(net, images), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path), external_data=False)


def _run_onnx(path: Path, images: Tensor, trial: TrialSpec, state: State) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


# --to -> (suffix, write the backbone, run what was written on the probes)
FORMATS: Mapping[
    str,
    tuple[str, Callable[[Backbone, Tensor, Path], None], Callable[[Path, Tensor, TrialSpec, State], Tensor]],
] = {
    "weights": (".pt", _write_weights, _run_weights),
    "torch.export": (".pt2", _write_program, _run_program),
    "onnx": (".onnx", _write_onnx, _run_onnx),
}


def _describe(path: Path, trial: TrialSpec, state: State) -> None:
    """Say beside the file what it is, and how its inputs are normalised."""
    content: dict[str, Any] = {
        "backbone": trial.backbone.model_dump(mode="json"),
        "trial_hash": state.trial_hash,
        "epochs": state.epoch,
        "averaged": state.averaged is not None,
        "input": "float32 [batch, channels, height, width]: (pixel in [0, 1] - mean) / std per channel",
        **state.inputs,
    }
    write_whole(path.with_name(path.name + ".json"), json.dumps(content, indent=1) + "\n")


def _report(path: Path, cost: Cost) -> str:
    rows = [
        ("", "in training", "exported"),
        ("parameters", f"{cost.params_train:,}", f"{cost.params_inference:,}"),
        ("MACs per image", f"{cost.macs_train:,}", f"{cost.macs_inference:,}"),
        ("FLOPs per image", f"{2 * cost.macs_train:,}", f"{2 * cost.macs_inference:,}"),
    ]
    lines = [f"{name:<16}{before:>16}{after:>16}" for name, before, after in rows]
    checked = "loads strictly into the unbranched network; logits equal those of `main`"
    return "\n".join([*lines, f"{path}: {checked}"])


if __name__ == "__main__":
    sys.exit(main())
