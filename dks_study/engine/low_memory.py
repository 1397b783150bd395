"""Ray kills a process when the machine's memory runs low: to Tune a death like others, which costs its trial only.

Tune knows deaths by `RayActorError`. What Ray tells of such a kill is none, and Tune would end the whole study.
"""

from ray.exceptions import OutOfMemoryError, RayActorError


class KilledForMemory(RayActorError):  # type: ignore[misc]  # Ray has no types
    """The process of a trial was killed as the machine's memory was low; `cause` is what Ray tells."""

    def __init__(self, cause: OutOfMemoryError) -> None:
        super().__init__(error_msg=str(cause))
        self.cause = cause

    def __reduce__(self) -> tuple[type["KilledForMemory"], tuple[OutOfMemoryError]]:
        """By its cause alone: Tune keeps it in a file."""
        return KilledForMemory, (self.cause,)


def tell_kills_as_deaths(controller: object) -> None:
    """Let Tune's `controller` take every kill for want of memory as the death of the process; call it once."""
    # Not Ray's public interface: another version may lack it, and may not need it.
    manager = getattr(controller, "_actor_manager", None)
    failed = getattr(manager, "_actor_task_failed", None)
    give_up_idle = getattr(controller, "_cleanup_cached_actors", None)
    if failed is None or give_up_idle is None:
        return

    def told(tracked_actor_task: object, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = KilledForMemory(exception)
            give_up_idle(force_all=True)  # killed with it, perhaps; a trial that one is given to would fail at once
        failed(tracked_actor_task, exception)

    manager._actor_task_failed = told  # type: ignore[union-attr]
