"""The forms in which a network is exported: how each is written, and run again to see whether it is right."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dks_study.method.exits import Shipped
from dks_study.spec.base import Problem


class ExportError(Problem, ValueError):
    """The trial cannot be exported; the message is one line."""


def _write_weights(net: Shipped, images: Tensor, path: Path) -> None:
    torch.save(net.plain().state_dict(), path)


def _run_weights(path: Path, images: Tensor, fresh: Callable[[], Shipped]) -> Tensor:
    again = fresh()
    again.plain().load_state_dict(torch.load(path, weights_only=True), strict=True)
    with torch.inference_mode():
        logits: Tensor = again.eval()(images)
    return logits


def _write_program(net: Shipped, images: Tensor, path: Path) -> None:
    torch.export.save(_program(net, images), path)


def _run_program(path: Path, images: Tensor, fresh: Callable[[], Shipped]) -> Tensor:
    logits: Tensor = torch.export.load(path).module()(images)
    return logits


def _program(net: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _write_onnx(net: Shipped, images: Tensor, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it and says so in many lines
    except ImportError as error:
        raise ExportError("--to: onnx needs the extra onnx (pip install '.[onnx]'), got onnx") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(_program(net, images), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path), external_data=False)


def _run_onnx(path: Path, images: Tensor, fresh: Callable[[], Shipped]) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


# --to -> (suffix, write what ships, run what was written on the probes)
FORMATS: Mapping[
    str,
    tuple[str, Callable[[Shipped, Tensor, Path], None], Callable[[Path, Tensor, Callable[[], Shipped]], Tensor]],
] = {
    "weights": (".pt", _write_weights, _run_weights),
    "torch.export": (".pt2", _write_program, _run_program),
    "onnx": (".onnx", _write_onnx, _run_onnx),
}
