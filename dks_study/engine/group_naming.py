"""Names for the controller and the workers of a Ray Train group. Written against the inside of Ray 2.60."""

from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.train.v2.api import data_parallel_trainer


class NamedGroup(WorkerGroupCallback):  # type: ignore[misc]  # Ray has no types
    """Names the controller and the workers of the Ray Train group that is started next.

    Ray 2.60 has no setting for it: their classes are replaced, in processes that serve groups of this one name.
    """

    def __init__(self, name: str) -> None:
        """Name the controller: it starts from this process."""
        self._name = name
        data_parallel_trainer.TrainController = _with_repr(data_parallel_trainer.TrainController, name)

    def before_worker_group_start(self, worker_group_context: object) -> None:
        """Name the workers: they start from the controller's process, where this is called."""
        group = worker_group.WorkerGroup
        group._worker_cls = _with_repr(group._worker_cls, self._name)


def _with_repr(actor: type, name: str) -> type:
    return type(actor.__name__, (actor,), {"__repr__": lambda _self: name})
