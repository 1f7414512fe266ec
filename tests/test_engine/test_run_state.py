"""State of a run: comparison of states."""

import numpy as np
import torch

from mmbsa.engine.run_state import _same


def test_same_compares_values_and_types():
    tensor, array = torch.ones(2), np.ones(2)
    assert _same(tensor, tensor.clone()) and not _same(tensor, tensor + 1)
    assert not _same(tensor, torch.ones(1, 2)) and not _same(tensor, 1) and not _same(1, tensor)
    assert not _same(tensor, array) and not _same(array, tensor) and not _same([1], tensor)
    assert _same(array, array.copy()) and not _same(array, array.astype(np.float32))
    assert _same(dict(a=[tensor, 1]), dict(a=[tensor.clone(), 1]))
    assert not _same(dict(a=1), dict(b=1)) and not _same(dict(a=1), dict(a=2))
    assert _same((1, 2), (1, 2)) and not _same((1, 2), [1, 2]) and not _same([1], [1, 2])
    assert not _same(1, 1.0) and not _same(1, True) and _same(None, None)
