"""How the arithmetic is done: number format, memory layout, compilation. Changes speed, memory and rounding."""

from typing import Literal

from dks_study.spec.base import Spec


class ComputeSpec(Spec):
    """The same in a whole study: it changes both what a trial costs and, by rounding, what comes out.

    `precision`: of the network's forward pass (autocast), in training and in evaluation; weights, losses and batch-norm
    statistics stay float32. float16 scales the loss while training. `channels_last`: memory layout of images and
    weights. `compile`: the network of the training step is compiled by torch.compile (minutes at first, a C++ compiler
    on CPUs); its dropout then draws other numbers than without, and not the same in every arm. `sync_batch_norm`:
    statistics over the batches of all workers; on GPUs only.
    """

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    sync_batch_norm: bool = False
