"""What an error means for a study."""

import errno

import pytest
import torch
from ray.exceptions import OutOfMemoryError as KilledByRay
from ray.exceptions import RayTaskError
from ray.train import ControllerError, WorkerGroupError

from dks_study.study.failures import causes, first_line, is_disk_full, is_out_of_memory, refused_memory

REFUSED = RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: 1 PiB")
LOST = RuntimeError("Connection closed by peer")


def group(**ranks):
    return WorkerGroupError("rank 1: ...", {int(name[-1]): error for name, error in ranks.items()})


def behind(error):
    outer = ValueError("outer")
    outer.__cause__ = error
    return outer


def in_task(error):
    return RayTaskError("train", "a traceback", error)


@pytest.mark.parametrize("wrap", [lambda e: e, behind, in_task, lambda e: behind(in_task(group(rank0=LOST, rank1=e)))])
@pytest.mark.parametrize("error", [REFUSED, torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError()])
def test_memory_that_was_refused_is_found_wherever_it_is(error, wrap):
    assert is_out_of_memory(wrap(error))
    assert refused_memory(wrap(error)) == first_line(error)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_memory_that_a_library_of_the_gpu_did_not_get_is_memory(words):
    assert refused_memory(RuntimeError(words)) == f"RuntimeError: {words}"


def test_what_really_happens_is_recognised():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**50, dtype=torch.uint8)
    assert refused_memory(refusal.value).startswith("RuntimeError: ")


def test_a_process_that_ray_killed_for_its_memory_may_be_tried_again():
    assert is_out_of_memory(group(rank1=KilledByRay("the node was out of memory")))
    assert refused_memory(group(rank1=KilledByRay("node"))) is None


@pytest.mark.parametrize("error", [LOST, ValueError("can't allocate memory"), group(rank0=LOST), ControllerError(LOST)])
def test_other_errors_are_the_trials_own(error):
    assert not is_out_of_memory(error)
    assert refused_memory(error) is None
    assert not is_disk_full(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found_wherever_it_is(number):
    full = OSError(number, "no")
    for error in (full, behind(full), in_task(full), group(rank0=LOST, rank1=full), ControllerError(behind(full))):
        assert is_disk_full(error)
    assert not is_disk_full(OSError(errno.EACCES, "no"))


def test_an_error_is_told_in_one_line():
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(ValueError()) == "ValueError"


def test_an_error_that_is_behind_itself_is_walked_once():
    error, other = ValueError("a"), OSError(errno.ENOSPC, "no")
    error.__cause__, other.__cause__ = other, error
    alone = ValueError("b")
    alone.__cause__ = alone  # as Ray's `raise e from e`
    assert list(causes(error)) == [error, other]
    assert list(causes(alone)) == [alone]
    assert is_disk_full(error)
    assert refused_memory(alone) is None
