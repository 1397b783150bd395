"""Number format, memory layout and compilation of a network, as ComputeSpec describes them."""

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from dks_study.compute_spec import ComputeSpec
from dks_study.spec import ResourceSpec

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
Network = TypeVar("Network", bound=nn.Module)


def place(network: Network, spec: ComputeSpec, device: torch.device) -> Network:
    """Return `network` on `device`, in the memory layout and with the batch norm of `spec`; names stay as they are."""
    network = network.to(device)
    if spec.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if spec.sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network


def lay_out(images: Tensor, spec: ComputeSpec) -> Tensor:
    """Return images [B, C, H, W] in the memory layout of `spec`, the same values."""
    return images.contiguous(memory_format=torch.channels_last) if spec.channels_last else images


def precision(spec: ComputeSpec, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for forward passes; with float32 it does nothing."""
    if spec.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_HALF[spec.precision])


def loss_scaler(spec: ComputeSpec, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps float16 gradients from vanishing; with other precisions it passes everything through."""
    return torch.amp.GradScaler(device.type, enabled=spec.precision == "float16")


def compiled(model: nn.Module, spec: ComputeSpec) -> nn.Module:
    """Return `model` to train with: itself, or compiled if `spec` says so (the same parameters, compiled on use)."""
    if not spec.compile:
        return model
    # A process trains one trial after another: past some compilations of the same code PyTorch would stop compiling.
    torch.compiler.reset()
    # One compilation for each batch size: which numbers come out must not depend on which sizes came before.
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def own_device(resources: ResourceSpec) -> torch.device:
    """Return the device of a trial that trains in its own process: the GPU it was given, or the CPU."""
    if not resources.gpus_per_worker:
        return torch.device("cpu")
    if resources.gpus_per_worker < 1:
        torch.cuda.set_per_process_memory_fraction(resources.gpus_per_worker)
    return torch.device("cuda", 0)
