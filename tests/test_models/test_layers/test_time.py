"""Equal steps are computed once, and nobody can tell: outputs, gradients and running statistics are those of T copies."""
from copy import deepcopy

import pytest
import torch
from torch import nn

from mmbsa.models.layers import SpikeConv, Timewise
from mmbsa.registry import MODELS

LIF = dict(type='mmbsa.LIFNode', tau=2.0, detach_reset=True)


def unit(**kwargs):
    torch.manual_seed(0)
    return SpikeConv(3, 8, 3, norm_cfg=dict(type='BN'), num_steps=4, **kwargs)


@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize('kwargs', [dict(), dict(pool='before'), dict(pool='after', neuron=LIF, neuron_last=True)], ids=str)
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
        for found, expected in zip(*(torch.autograd.grad(out, [x, *model.parameters()], upstream)
                                     for out, model in ((a, once), (b, often)))):
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
    model = MODELS.build(dict(type=f'mmbsa.{family}', arch=dict(embed_dims=16, depth=1, num_heads=2), num_steps=3))
    x = torch.randn(2, 3, 32, 32)
    twin = deepcopy(model)
    for a, b in zip(model(x), twin(x[:, None].expand(-1, 3, -1, -1, -1).clone())):
        torch.testing.assert_close(a, b)
    for a, b in zip(model.buffers(), twin.buffers()):
        torch.testing.assert_close(a, b)
