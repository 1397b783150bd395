"""What several test files share."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Let PyTorch compute with one thread, so that sums are taken in the same order everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
