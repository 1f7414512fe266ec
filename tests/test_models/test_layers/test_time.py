"""Equal steps are computed once, and nobody can tell: outputs, gradients and running statistics are
those of T copies."""

import itertools
from copy import deepcopy

import pytest
import torch
from torch import nn

from mmbsa.models.layers import TIME_MODES, SpikeConv, Timewise, merge_time, split_time
from mmbsa.models.layers.time import copies, norm_of_copies
from mmbsa.registry import MODELS

LIF = dict(type='mmbsa.LIFNode', tau=2.0, detach_reset=True)


def unit(**kwargs):
    torch.manual_seed(0)
    return SpikeConv(3, 8, 3, norm_cfg=dict(type='BN'), **kwargs)


@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize(
    'kwargs',
    [dict(), dict(pool='before'), dict(pool='after', neuron=LIF, neuron_last=True)],
    ids=str,
)
@pytest.mark.parametrize('train', [True, False])
def test_spike_conv(kwargs, momentum, train):
    once = unit(**kwargs).train(train)
    once.norm.momentum = momentum
    often = deepcopy(once)
    x = torch.randn(2, 3, 9, 10, requires_grad=True)
    upstream = torch.randn(4, *once(x[None])[0].shape)
    for model in (once, often):
        model.norm.reset_running_stats()
    for _ in range(2):
        a, b = once(x.expand(4, *x.shape)), often(x.repeat(4, 1, 1, 1, 1))
        torch.testing.assert_close(a, b)
        for found, expected in zip(
            *(
                torch.autograd.grad(out, [x, *model.parameters()], upstream)
                for out, model in ((a, once), (b, often))
            )
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for found, expected in zip(once.buffers(), often.buffers()):
        torch.testing.assert_close(found, expected)
    if train:
        naive = deepcopy(once)
        naive.norm.reset_running_stats()
        naive(x[None])
        assert not torch.allclose(naive.norm.running_var, often.norm.running_var, rtol=1e-4)


def test_one_value_per_channel_has_a_variance_in_copies_only():
    model = unit().train()
    x = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(model(x.expand(4, 1, 3, 1, 1)), model(x.repeat(4, 1, 1, 1, 1)))


def test_convolution_sees_one_step():
    seen = []
    model = unit(neuron=LIF, neuron_last=True)
    model.conv.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    x = torch.randn(2, 3, 8, 8)
    model(x.expand(4, *x.shape))
    model(x.repeat(4, 1, 1, 1, 1))
    assert seen == [2, 8]
    pooled = Timewise(nn.MaxPool2d(2))(x.expand(4, *x.shape))
    assert pooled.shape == (4, 2, 3, 4, 4) and pooled.stride(0) == 0


@pytest.mark.parametrize('family', ['Spikformer', 'Spikingformer', 'SpikeDrivenTransformer'])
def test_backbone_of_an_image_equals_that_of_equal_frames(family):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type=f'mmbsa.{family}', arch=dict(embed_dims=16, depth=1, num_heads=2), num_steps=3)
    )
    x = torch.randn(2, 3, 32, 32)
    twin = deepcopy(model)
    for a, b in zip(model(x), twin(x[:, None].expand(-1, 3, -1, -1, -1).clone())):
        torch.testing.assert_close(a, b)
    for a, b in zip(model.buffers(), twin.buffers()):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('mode', sorted(TIME_MODES))
def test_reading_out_keeps_the_layout_and_the_gradient(mode):
    torch.manual_seed(0)
    plain = torch.randn(4, 2, 6, 5, 7)
    last = plain.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
    slow = dict(
        mean=lambda x: x.mean(0),
        sum=lambda x: x.sum(0),
        max=lambda x: x.amax(0),
        last=lambda x: x[-1],
    )[mode]
    upstream = torch.randn(2, 6, 5, 7)
    for x in (plain, last, plain[:, :, :, ::2], plain[:1].expand(4, 2, 6, 5, 7), plain[:, 0, 0, 0]):
        results = []
        for function in (TIME_MODES[mode], slow):
            y = x.detach().requires_grad_()
            out = function(y)
            results.append(
                (
                    out,
                    torch.autograd.grad(out, y, upstream.flatten()[: out.numel()].view(out.shape))[
                        0
                    ],
                )
            )
        torch.testing.assert_close(*results)
    assert TIME_MODES[mode](last).is_contiguous(memory_format=torch.channels_last)


def test_gradients_of_copies_are_summed_in_the_layout_of_one():
    x = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    upstream = (
        torch.randn(8, 6, 5, 7).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
    )
    for grad in (upstream, upstream.contiguous(), torch.ones(()).expand(upstream.shape)):
        (found,) = torch.autograd.grad(copies(x, 4), x, grad)
        (expected,) = torch.autograd.grad(x.expand(4, *x.shape), x, grad)
        torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(copies(x, 4), x, upstream)[0].stride() == x.stride()
    compiled = torch.compile(
        lambda x: TIME_MODES['mean'](copies(x, 4) * 2), backend='aot_eager', fullgraph=True
    )
    torch.testing.assert_close(
        torch.autograd.grad(compiled(x).sum(), x)[0], torch.full_like(x, 2.0)
    )


@pytest.mark.parametrize('neuron', ['LIFNode', 'TernaryLIFNode', 'IntegerNode'])
def test_one_image_keeps_its_channels_last(neuron):
    """Strides of dimensions of one element are free, and convolutions go by them."""
    torch.manual_seed(0)
    x = torch.randn(1, 48, 32, 32).contiguous(memory_format=torch.channels_last)
    for first, odd in (
        (x[None], False),
        (x[None].as_strided((1, 1, 48, 32, 32), (1, 1, *x.stride()[1:])), True),
    ):
        assert merge_time(first).stride() == x.stride(), odd
        maps = merge_time(
            MODELS.build(dict(type=f'mmbsa.{neuron}'))(split_time(merge_time(first), 1))
        )
        out = torch.conv2d(maps, torch.randn(48, 48, 3, 3), padding=1)
        assert maps.stride() == out.stride() == x.stride()
        y = first.clone().requires_grad_()
        merge_time(y).square().sum().backward()
        torch.testing.assert_close(y.grad, 2 * first)
    assert merge_time(torch.randn(1, 1, 4, 5, 6)).is_contiguous()


@pytest.mark.parametrize('neuron', ['LIFNode', 'IntegerNode'])
def test_one_image_has_one_layout_in_forward_and_backward(neuron):
    """Batch norm is 30 times slower if the first strides of one map and its gradient differ."""
    unit = dict(neuron=dict(type=f'mmbsa.{neuron}'), norm_cfg=dict(type='BN'))
    net = nn.Sequential(SpikeConv(8, 16, 3, **unit), SpikeConv(16, 8, 1, **unit))
    x = torch.randn(1, 8, 6, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []

    def watch(module, inputs, out):
        seen.extend((inputs[0].stride(), out.stride()))
        out.register_hook(lambda grad: seen.append(grad.stride()))

    for layer in net:
        layer.norm.register_forward_hook(watch)
    out = net(x[None])
    (out * torch.randn(out.shape)).sum().backward()  # its gradient is contiguous
    wide, narrow = (480, 1, 80, 16), (240, 1, 40, 8)
    assert seen == [wide, wide, narrow, narrow, narrow, wide]


@pytest.mark.parametrize(
    'shape, contiguous, channels_last',
    [
        ((8, 16, 1, 6), (96, 6, 1, 1), (96, 1, 96, 16)),
        ((8, 16, 6, 1), (96, 6, 1, 1), (96, 1, 16, 768)),
        ((1, 16, 3, 5), (240, 15, 5, 1), (1, 1, 80, 16)),
    ],
)
def test_norm_of_a_map_with_a_dimension_of_one_keeps_its_gradient(shape, contiguous, channels_last):
    """The stride of a dimension of 1 says nothing, and is what the operations before have left
    there."""
    x, grad, norm = torch.randn(shape), torch.randn(shape), nn.BatchNorm2d(16)
    for at_input, at_output in itertools.product((contiguous, channels_last), repeat=2):
        norm.zero_grad()
        inputs = torch.empty_strided(shape, at_input).copy_(x).requires_grad_()
        norm_of_copies(norm, inputs, 1).backward(torch.empty_strided(shape, at_output).copy_(grad))
        torch.testing.assert_close(norm.bias.grad, grad.sum((0, 2, 3)))
        exact = nn.BatchNorm2d(16).double()
        y = x.double().requires_grad_()
        exact(y).backward(grad.double())
        torch.testing.assert_close(inputs.grad.double(), y.grad, rtol=1e-4, atol=1e-5)
