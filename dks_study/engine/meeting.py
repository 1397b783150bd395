"""How the workers of a Ray Train group find one another.

PyTorch's TCPStore listens on every interface of its machine and has no setting for it. Workers that are all on one
machine need none: they meet through a file, and no port is open to others.
"""

import tempfile
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import ray
import torch
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.torch import TorchConfig


def _new_file() -> str:
    return str(Path(tempfile.gettempdir(), f"dks_study-{uuid.uuid4().hex}"))


@dataclass
class Meeting(TorchConfig):  # type: ignore[misc]  # Ray has no types
    """TorchConfig, but on one machine the process group is formed through `file`, which is deleted with the group."""

    file: str = field(default_factory=_new_file)

    @property
    def backend_cls(self) -> type:
        """The class that forms and ends the process group."""
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: Meeting) -> None:
        if len(set(worker_group.execute(_node))) > 1:
            super().on_start(worker_group, backend_config)
            return
        worker_group.execute_single(0, _delete, backend_config.file)  # of a group that was lost before
        size, how = len(worker_group), (backend_config.backend, backend_config.file, backend_config.timeout_s)
        ray.get([worker_group.execute_single_async(rank, _join, rank, size, *how) for rank in range(size)])

    def on_shutdown(self, worker_group: BaseWorkerGroup, backend_config: Meeting) -> None:
        super().on_shutdown(worker_group, backend_config)
        worker_group.execute_single(0, _delete, backend_config.file)


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def _join(rank: int, size: int, backend: str, file: str, timeout_s: int) -> None:
    torch.distributed.init_process_group(
        backend, init_method=f"file://{file}", rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
    )


def _delete(file: str) -> None:
    Path(file).unlink(missing_ok=True)
