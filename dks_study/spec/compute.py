"""How the arithmetic is done: number format, memory layout, compilation. Changes speed, memory and rounding."""

from dataclasses import dataclass
from typing import Literal

from dks_study.spec.base import Spec

Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Computation:
    """How a network computes on one kind of device: a ComputeSpec with nothing left to `auto`."""

    precision: Precision
    channels_last: bool
    compile: bool = False
    sync_batch_norm: bool = False

    def __str__(self) -> str:
        """Return the number format and the layout, `tf32, channels_last`."""
        return f"{self.precision}, {'channels_last' if self.channels_last else 'default layout'}"


class ComputeSpec(Spec):
    """The same in a whole study: it changes both what a trial costs and, by rounding, what comes out.

    `precision`: of the network's forward pass (autocast), in training and in evaluation; weights, losses and batch-norm
    statistics stay float32. float16 scales the loss while training. tf32, on GPUs only, is float32 whose products are
    rounded to 10 bits, in the loss those of the fsp term and of the class_means placebo alone; with float32 none are.
    `channels_last`: memory layout of images and weights. `compile`: the network of the training step is compiled by
    torch.compile (minutes at first, a C++ compiler on CPUs); its dropout then draws other numbers than without, and not
    the same in every arm. `sync_batch_norm`: statistics over the batches of all workers; on GPUs only.

    `auto` is what `chosen` says: by rule, not by a stopwatch, as two runs of a study must not differ by what else ran
    on the machine.
    """

    precision: Precision = "auto"
    channels_last: Literal["auto", True, False] = "auto"
    compile: bool = False
    sync_batch_norm: bool = False

    def chosen(self, *, on_gpu: bool) -> Computation:
        """Return what it comes to on a GPU or on CPUs.

        On CPUs float32 and channels_last (benchmarks/train_step.md). On GPUs tf32, as PyTorch's convolutions are unless
        they are told otherwise, and channels_last where tensor cores compute: in all formats but float32.
        """
        precision = ("tf32" if on_gpu else "float32") if self.precision == "auto" else self.precision
        fast = not on_gpu or precision != "float32"
        last = fast if self.channels_last == "auto" else self.channels_last
        return Computation(precision, last, self.compile, self.sync_batch_norm)
