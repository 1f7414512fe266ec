"""Layouts: as torch would lay out the same tensor, and never a view."""

import itertools

import pytest
import torch

from mmbsa.ops import integer_spike
from mmbsa.ops.layout import inverse, layout_of, memory_order


@pytest.mark.parametrize('order', list(itertools.permutations(range(1, 4))), ids=str)
def test_layout_of_a_dense_tensor_is_its_own(order):
    shape = (2, 3, 4, 5)
    order = [0, *order]
    x = torch.randn([shape[i] for i in order]).permute(inverse(order))
    layout = layout_of(x)
    assert memory_order(x) == layout.order == order
    out = layout.empty(x, torch.uint8)
    assert out.stride() == x.stride() and out.dtype == torch.uint8 and not out._is_view()
    assert layout.empty_step(x, torch.float64).stride() == x.stride()[1:]
    assert layout.rows(x).data_ptr() == x.data_ptr() and torch.equal(
        layout.rows(x)[1], layout.row(x[1])
    )


def test_layout_of_a_tensor_with_gaps_is_contiguous():
    for x in (torch.randn(2, 3, 8)[..., ::2], torch.randn(2, 1, 4).expand(2, 3, 4)):
        layout = layout_of(x)
        assert layout.order == [0, 1, 2] and layout.empty(x).is_contiguous()
        assert torch.equal(layout.rows(x), x.reshape(2, -1))


def test_layout_puts_dimensions_of_one_element_first():
    x = torch.randn(2, 1, 5, 1, 3).permute(0, 1, 4, 2, 3)  # channels last; its width is 1
    assert layout_of(x).empty(x)[0].is_contiguous(memory_format=torch.channels_last)
    assert memory_order(torch.randn(4, 1, 3)) == [0, 1, 2] and memory_order(
        torch.randn(4, 3, 1)
    ) == [0, 2, 1]


def test_layout_reads_equal_steps_from_one_memory():
    x = torch.randn(1, 3, 4).expand(5, 3, 4)
    assert layout_of(x).rows(x).stride() == (0, 1)


@pytest.mark.parametrize(
    'shape', [(0,), (0, 3), (0, 3, 4), (2, 0, 4), (2, 3, 0, 5), (0, 0, 4, 4), (2, 0, 3, 4, 4)]
)
@pytest.mark.parametrize('channels_last', [False, True])
def test_layout_takes_empty_tensors(shape, channels_last):
    x = torch.empty(shape)
    if channels_last and len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    layout = layout_of(x)
    rows = layout.rows(x)
    assert (
        sorted(layout.order) == list(range(len(shape)))
        and rows.shape[0] == shape[0]
        and rows.dim() == 2
    )
    assert layout.empty(x).shape == x.shape


@pytest.mark.parametrize('shape', [(0, 3, 4, 4), (2, 0, 3, 4, 4)])
def test_integer_spike_takes_empty_batches(shape):
    u = torch.empty(shape, requires_grad=True)
    out = integer_spike(u, 4, norm=4.0)
    out.sum().backward()
    assert out.shape == u.grad.shape == shape
