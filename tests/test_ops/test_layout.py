"""Layouts of empty tensors, which say nothing about strides."""
import pytest
import torch

from mmbsa.ops import integer_spike
from mmbsa.ops.layout import as_rows, from_rows, memory_order


@pytest.mark.parametrize('shape', [(0, ), (0, 3), (0, 3, 4), (2, 0, 4), (2, 3, 0, 5), (0, 0, 4, 4), (2, 0, 3, 4, 4)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_memory_order_and_rows_take_empty_tensors(shape, channels_last):
    x = torch.empty(shape)
    if channels_last and len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    order = memory_order(x)
    rows = as_rows(x, order)
    assert sorted(order) == list(range(len(shape))) and rows.shape[0] == shape[0] and rows.dim() == 2
    assert from_rows(rows, x, order).shape == x.shape


@pytest.mark.parametrize('shape', [(0, 3, 4, 4), (2, 0, 3, 4, 4)])
def test_integer_spike_takes_empty_batches_forward_and_backward(shape):
    u = torch.empty(shape, requires_grad=True)
    out = integer_spike(u, 4, norm=4.0)
    out.sum().backward()
    assert out.shape == u.grad.shape == shape
