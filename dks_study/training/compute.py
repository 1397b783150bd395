"""Number format, memory layout and compilation of a network, as a Computation describes them; a trial's share."""

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dks_study.spec.compute import Computation
from dks_study.spec.trial import ResourceSpec, TrialSpec

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
Network = TypeVar("Network", bound=nn.Module)


def place(network: Network, how: Computation, device: torch.device) -> Network:
    """Return `network` on `device`, in the memory layout and with the batch norm of `how`; names stay as they are.

    On a GPU the process rounds products of float32 as `how` says from then on: backward passes go by that as well.
    """
    network = network.to(device)
    if device.type == "cuda":
        round_products(how.precision != "float32")
    if how.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if how.sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network


def round_products(to_tf32: bool) -> None:
    """Let this process round products of float32 on GPUs to TF32, in convolutions too, or not."""
    # By the older of PyTorch's two settings: after the newer alone its export, which reads the older, raises an
    # error (2.14), and its compiler on some versions (pytorch/pytorch#166387).
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = to_tf32


def lay_out(images: Tensor, how: Computation) -> Tensor:
    """Return images [B, C, H, W] in the memory layout of `how`, the same values."""
    return images.contiguous(memory_format=torch.channels_last) if how.channels_last else images


def precision(how: Computation, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for forward passes; with float32 and tf32 it does nothing."""
    half = _HALF.get(how.precision)
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)


@contextmanager
def twice_differentiable(asked: bool) -> Iterator[None]:
    """Let forward passes be differentiated by their images and that again, if `asked`, also while evaluating."""
    if not asked:
        yield
        return
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def loss_scaler(how: Computation, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps float16 gradients from vanishing; with other precisions it passes everything through."""
    return torch.amp.GradScaler(device.type, enabled=how.precision == "float16")


def compiled(model: nn.Module, how: Computation) -> nn.Module:
    """Return `model` to train with: itself, or compiled if `how` says so (the same parameters, compiled on use)."""
    if not how.compile:
        return model
    # A process trains one trial after another: past some compilations of the same code PyTorch would stop compiling.
    torch.compiler.reset()
    # One compilation for each batch size: which numbers come out must not depend on which sizes came before.
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def own_device(resources: ResourceSpec) -> torch.device:
    """Return the device of a trial that trains in its own process: the GPU it was given, or the CPU."""
    return torch.device("cuda", 0) if resources.gpus_per_worker else torch.device("cpu")


def keep_to_share(trial: TrialSpec, device: torch.device) -> None:
    """Let this process use no more of its machine than the trial was given, beside whatever else runs there.

    It computes with the CPUs that the processes which decode images leave (at least one); a part of a GPU is that part
    of its memory, too.
    """
    torch.set_num_threads(max(1, trial.resources.cpus_per_worker - trial.data.decode_workers))
    if device.type == "cuda" and 0 < trial.resources.gpus_per_worker < 1:
        torch.cuda.set_per_process_memory_fraction(trial.resources.gpus_per_worker, device)


def give_back_memory(device: torch.device) -> None:
    """Free what an ended trial has left in this process: the next one, or one beside it on `device`, may need it."""
    gc.collect()  # a network refers to itself, and holds memory until it is found
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that tensors took on the first GPU since training began, the data among them.

    Nothing on CPUs: a process that trains one trial after another knows its peak over all of them alone.
    """
    if device.type != "cuda":
        return {}
    return {"cost/peak_memory_mib": torch.cuda.max_memory_allocated(device) / 2**20}
