"""What an error means for a study: is it the trial's own, or was there no memory or no disk for it?"""

import errno
from collections.abc import Iterator

import torch

# The words of PyTorch's allocators; and of cuBLAS and cuDNN, which ask for memory of their own.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED")
_NO_DISK = (errno.ENOSPC, errno.EDQUOT)


def refused_memory(error: BaseException) -> str | None:
    """Return in one line that the trial asked for more memory than there is, or None if it was not that."""
    refusals = [
        cause
        for cause in causes(error)
        if isinstance(cause, torch.OutOfMemoryError | MemoryError)
        or (isinstance(cause, RuntimeError) and any(words in str(cause) for words in _NO_MEMORY))
    ]
    return first_line(refusals[-1]) if refusals else None


def is_out_of_memory(error: BaseException) -> bool:
    """Was there no memory: by `refused_memory`, or by the judgement of Ray's memory monitor, which kills?"""
    killed = any(type(cause).__name__ == "OutOfMemoryError" for cause in causes(error))
    return killed or refused_memory(error) is not None


def is_disk_full(error: BaseException) -> bool:
    """Was there no space, or no quota, left to write?"""
    return any(isinstance(cause, OSError) and cause.errno in _NO_DISK for cause in causes(error))


def first_line(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what is behind it, down to the errors of the workers of a group, each once.

    Ray raises some errors from themselves.
    """
    seen: set[int] = set()
    behind: list[object] = [error]
    while behind:
        cause = behind.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            failures = getattr(cause, "worker_failures", {}).values()
            more = [cause.__cause__, getattr(cause, "cause", None), getattr(cause, "controller_failure", None)]
            behind += reversed([*more, *failures])
