"""RepConv: one dense convolution in evaluation, a border from running statistics in training."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmbsa.models.layers import RepConv

C, OUT = 5, 7


def build(**kwargs):
    torch.manual_seed(0)
    unit = RepConv(C, OUT, **kwargs)
    for module in unit.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.uniform_(0.5, 1.5)
    return unit


def padded_by_hand(unit, x):
    """The official order of steps: normalise, pad with the norm's value of a zero, convolve without
    padding."""
    norm = unit.expand_norm
    x = norm(unit.expand(x))
    value = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    canvas = value.detach().view(1, -1, 1, 1).repeat(len(x), 1, x.shape[2] + 2, x.shape[3] + 2)
    canvas[:, :, 1:-1, 1:-1] = x
    x = F.conv2d(canvas, unit.depthwise.weight, groups=canvas.shape[1])
    return unit.last_norm(unit.reduce_norm(unit.reduce(x)))


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('size', [(6, 6), (1, 4), (5, 1)])
def test_border_and_its_gradients(train, size):
    """In training the border is taken after this very batch has moved the statistics, and has no
    gradient."""
    ours, official = build().double().train(train), build().double().train(train)
    x = torch.randn(3, 2, C, *size, dtype=torch.double, requires_grad=True)
    copy = x.detach().clone().requires_grad_()
    out, expected = ours(x), padded_by_hand(official, copy.flatten(0, 1)).unflatten(0, (3, 2))
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, copy.grad)
    for (name, a), b in zip(ours.named_parameters(), official.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(ours.named_buffers(), official.named_buffers()):
        torch.testing.assert_close(a, b[1], msg=name)


def test_in_evaluation_the_chain_is_one_dense_convolution_of_a_zero_padded_map():
    unit = build(ratio=2).double().eval()
    zero = torch.zeros(1, 1, C, 9, 9, dtype=torch.double)
    impulses = zero.repeat(C, 1, 1, 1, 1)
    impulses[range(C), 0, range(C), 4, 4] = 1
    bias = unit(zero)[0, 0, :, 0, 0]
    kernel = (
        (unit(impulses)[:, 0, :, 3:6, 3:6] - bias.view(-1, 1, 1)).flip(-1, -2).transpose(0, 1)
    )  # (out, in, 3, 3)
    x = torch.randn(2, 3, C, 6, 7, dtype=torch.double)
    dense = F.conv2d(x.flatten(0, 1), kernel, bias, padding=1).unflatten(0, (2, 3))
    torch.testing.assert_close(unit(x), dense)


def test_without_a_depth_wise_convolution():
    unit = build(kernel_size=1, ratio=1.5, last_norm=False, neuron=dict(type='mmbsa.IntegerNode'))
    assert (
        unit.depthwise is None
        and unit.expand.out_channels == 7
        and isinstance(unit.last_norm, nn.Identity)
    )
    x = torch.randn(1, 2, C, 3, 3)
    merged = unit.neuron(x)[0]
    assert torch.equal(
        unit(x)[0], unit.reduce_norm(unit.reduce(unit.expand_norm(unit.expand(merged))))
    )


@pytest.mark.parametrize(
    'norm_cfg',
    [dict(type='GN', num_groups=1), dict(type='IN'), dict(type='BN', track_running_stats=False)],
)
def test_a_norm_without_statistics_has_no_border(norm_cfg):
    with pytest.raises(ValueError, match='running statistics'):
        RepConv(C, OUT, norm_cfg=norm_cfg)


def test_half_precision_stays_half():
    unit = build().eval().bfloat16()
    assert unit(torch.randn(1, 2, C, 4, 4).bfloat16()).dtype == torch.bfloat16
