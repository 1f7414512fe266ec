"""Ops must not read memory they did not write.

every ``torch.empty`` under these tests is full of NaN.
"""

import pytest
import torch

from mmbsa.ops import triton_support

#: Triton kernels run on a GPU, or in the process that ``test_interpreter.py`` starts.
collect_ignore_glob = ['test_*_triton.py'] if triton_support.missing() else []


@pytest.fixture(autouse=True)
def poisoned_empty():
    was = (
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(was[0])
    torch.utils.deterministic.fill_uninitialized_memory = was[1]
