"""Conv2d trains as torch's does: the same results and gradients up to rounding, whatever computes
them."""

from copy import deepcopy

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from mmbsa.models.layers import Conv2d, RepConv, SpikeConv, conv
from mmbsa.ops import implementations
from mmbsa.ops.conv_weight_grad import native

LAST = torch.channels_last
EPS = 2.0**-24
#: constructor's arguments; channels of the input come first
LAYERS = [
    dict(args=(8, 12, 3), padding=1),
    dict(args=(8, 12, 1)),
    dict(args=(3, 8, 7), stride=2, padding=3, bias=False),
    dict(args=(16, 12, 3), groups=4, stride=2),
    dict(args=(8, 8, 7), groups=8, padding=3),
    dict(args=(8, 12, (1, 5)), padding=(0, 2), stride=(2, 1)),
]
FALLBACKS = [dict(args=(8, 12, 3), dilation=2)]


@pytest.fixture(autouse=True)
def native_wherever_it_can(monkeypatch):
    """Also where oneDNN would be faster: what is tested must not depend on the machine."""
    if 'native' not in implementations('conv_weight_grad'):
        pytest.skip('no C++ compiler')
    monkeypatch.setenv('MMBSA_OPS_IMPL', 'auto')
    monkeypatch.setattr(native, '_capability', lambda: 'AVX2')


@pytest.fixture
def calls(monkeypatch):
    """Calls of the op, as they come."""
    seen, op = [], conv.conv_weight_grad
    monkeypatch.setattr(
        conv, 'conv_weight_grad', lambda *args, **kwargs: seen.append(kwargs) or op(*args, **kwargs)
    )
    return seen


def pair(args, **kwargs):
    """Ours and torch's with the same parameters."""
    torch.manual_seed(0)
    theirs = nn.Conv2d(*args, **kwargs)
    ours = Conv2d(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def image(channels, layout=LAST, requires_grad=True):
    x = torch.randn(2, channels, 13, 11, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=layout).requires_grad_(requires_grad)


def upstream(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def gradients(module, x, function=None):
    """Output and gradients, of x first."""
    out = (module if function is None else function)(x)
    inputs = [t for t in (x, *module.parameters()) if t.requires_grad]
    return out, *torch.autograd.grad(out, inputs, upstream(out.shape))


def assert_alike(module, x, found, expected):
    """The same bits, but for the parameters: two sums over positions differ by their roundings,
    each at most EPS of the sum of magnitudes."""
    positions = found[0].numel() // module.out_channels
    terms = upstream(found[0].shape).abs().sum((0, 2, 3))
    weight = torch.zeros_like(module.weight, dtype=torch.float64, requires_grad=True)
    out = torch.conv2d(
        x.detach().abs().double(), weight, None, module.stride, module.padding, 1, module.groups
    )
    (magnitudes,) = torch.autograd.grad(out, weight, upstream(out.shape).abs().double())
    for a, b in zip(found, expected, strict=True):
        if a.shape == weight.shape:
            assert ((a - b).abs() <= 2 * positions * EPS * magnitudes).all()
        elif a.shape == terms.shape:
            assert ((a - b).abs() <= 2 * positions * EPS * terms).all()
        else:
            assert torch.equal(a, b)


@pytest.mark.parametrize('weight_layout', [torch.contiguous_format, LAST])
@pytest.mark.parametrize('options', LAYERS, ids=str)
def test_gradients_are_those_of_torch(options, weight_layout, calls):
    ours, theirs = (m.to(memory_format=weight_layout) for m in pair(**options))
    x = image(ours.in_channels)
    found, expected = gradients(ours, x), gradients(theirs, x)
    assert len(calls) == 1
    assert_alike(ours, x, found, expected)
    assert found[0].is_contiguous(memory_format=LAST) and found[1].is_contiguous(memory_format=LAST)
    if min(ours.weight.shape[1:]) > 1:
        assert found[2].stride() == ours.weight.stride()


@pytest.mark.parametrize('options', FALLBACKS, ids=str)
def test_what_the_op_does_not_do_is_left_to_torch(options, calls):
    ours, theirs = pair(**options)
    for a, b in zip(gradients(ours, image(8)), gradients(theirs, image(8)), strict=True):
        assert torch.equal(a, b)
    assert not calls


def test_other_paddings_go_through_the_op(calls):
    for options in (
        dict(padding=1, padding_mode='reflect'),
        dict(padding='valid', stride=2),
        dict(padding='same'),
    ):
        ours, theirs = pair((8, 12, 3), **options)
        for a, b in zip(gradients(ours, image(8)), gradients(theirs, image(8)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * b.abs().max().item())
    assert len(calls) == 3


def test_inputs_that_are_left_to_torch(calls):
    ours, theirs = pair((8, 12, 3), padding=1)
    contiguous = image(8, torch.contiguous_format)
    for x in (contiguous, contiguous.detach()[0].requires_grad_()):
        for a, b in zip(gradients(ours, x), gradients(theirs, x), strict=True):
            assert torch.equal(a, b)
    with torch.autocast('cpu', torch.bfloat16):
        out = ours(image(8))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    with torch.no_grad():
        assert torch.equal(ours(image(8)), theirs(image(8)))
    ours.double()(image(8).double()).sum().backward()
    assert not calls


def test_the_environment_can_ask_for_torch(calls, monkeypatch):
    monkeypatch.setenv('MMBSA_OPS_IMPL', 'reference')
    ours, _ = pair((8, 12, 3))
    ours(image(8)).sum().backward()
    assert not calls


def test_frozen_parts(calls):
    ours, theirs = pair((8, 12, 3), padding=1)
    for module in (ours, theirs):
        module.weight.requires_grad_(False)
    for a, b in zip(gradients(ours, image(8)), gradients(theirs, image(8)), strict=True):
        assert torch.equal(a, b)
    assert not calls
    for module in (ours, theirs):
        module.weight.requires_grad_()
        module.bias.requires_grad_(False)
    x = image(8, requires_grad=False)
    assert_alike(ours, x, gradients(ours, x), gradients(theirs, x))
    assert len(calls) == 1


@pytest.mark.parametrize('reentrant', [False, True])
def test_under_activation_checkpointing(reentrant, calls):
    ours, theirs = pair((8, 12, 3), padding=1)
    checkpoint(ours, image(8), use_reentrant=reentrant).square().sum().backward()
    theirs(image(8)).square().sum().backward()
    assert len(calls) == 1
    plain = deepcopy(ours)
    plain.zero_grad()
    plain(image(8)).square().sum().backward()
    assert torch.equal(plain.weight.grad, ours.weight.grad) and torch.equal(
        plain.bias.grad, ours.bias.grad
    )
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_double_backward_is_that_of_torch():
    results = []
    for module in pair((4, 6, 3), padding=1):
        x = image(4)
        first = torch.autograd.grad(module(x).square().sum(), (x, module.weight), create_graph=True)
        results.append(
            torch.autograd.grad(
                sum(g.square().sum() for g in first), (x, module.weight, module.bias)
            )
        )
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(
            a, b, rtol=286 * EPS, atol=1e-5
        )  # sums over 286 positions in another order


def test_under_compile(calls):
    ours, theirs = pair((8, 12, 3), padding=1)
    found = gradients(ours, image(8), torch.compile(ours, backend='aot_eager', fullgraph=True))
    for a, b in zip(found, gradients(theirs, image(8)), strict=True):
        torch.testing.assert_close(a, b)
    assert not calls


def test_under_transforms_of_functions(calls):
    ours, theirs = pair((8, 12, 3), padding=1)
    found, expected = (
        torch.func.vmap(
            torch.func.grad(
                lambda weight, x, m=m: (
                    torch.func.functional_call(m, {'weight': weight}, x[None]).square().sum()
                )
            ),
            (None, 0),
        )(m.weight, image(8))
        for m in (ours, theirs)
    )
    assert found.shape == (2, *ours.weight.shape) and torch.equal(found, expected) and not calls


def test_is_a_conv2d_to_everyone():
    ours, theirs = pair((8, 8, 3), padding=1)
    assert isinstance(ours, nn.Conv2d) and repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    copy = deepcopy(ours)
    assert type(copy) is Conv2d and copy.weight is not ours.weight
    assert torch.equal(copy(image(8)), theirs(image(8)))
    norm = nn.BatchNorm2d(8).eval()
    norm.running_mean.normal_()
    expected = norm(theirs(image(8)))
    torch.testing.assert_close(fuse_conv_bn_eval(copy.eval(), norm)(image(8)), expected)
    torch.testing.assert_close(fuse_conv_bn(nn.Sequential(ours, norm).eval())(image(8)), expected)


def test_a_step_of_training_keeps_layouts(calls):
    ours, _ = pair((8, 12, 3), padding=1)
    for weight_layout in (torch.contiguous_format, LAST):
        module = deepcopy(ours).to(memory_format=weight_layout)
        optimizer = torch.optim.AdamW(module.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            module(image(8)).square().mean().backward()
            optimizer.step()
        assert (
            module.weight.grad.stride()
            == module.weight.stride()
            == optimizer.state[module.weight]['exp_avg'].stride()
        )
    assert len(calls) == 4


def test_units_train_through_it(calls):
    """RepConv calls its depth-wise convolution with a bias of its own."""
    x = image(8).detach()[None]
    for unit, count in ((SpikeConv(8, 6, 3, norm_cfg=dict(type='BN')), 1), (RepConv(8, 6), 3)):
        calls.clear()
        unit(x).square().sum().backward()
        assert len(calls) == count and all(p.grad is not None for p in unit.parameters())


@pytest.mark.parametrize(
    'size, kernel, stride, padding, dilation, groups, wrong',
    [
        (8, 3, 2, 1, 1, 1, False),
        (3, 3, 2, 0, 1, 1, True),  # one position along the side
        (4, 3, 2, 0, 1, 1, True),
        (5, 3, 2, 0, 1, 1, False),
        (5, 3, 2, 0, 2, 1, True),
        (3, 3, 2, 1, 1, 1, False),
        (3, 3, 1, 0, 1, 1, False),
        (8, 3, 1, 1, 2, 4, True),
    ],
)
def test_wrong_results_of_onednn_are_predicted(
    size, kernel, stride, padding, dilation, groups, wrong
):
    x = torch.zeros(1, 4, size, 9, dtype=torch.bfloat16)
    pairs = [(value, value) for value in (kernel, stride, padding, dilation)]
    assert conv.wrong_in_bfloat16(x, *pairs, groups) == wrong
    assert not conv.wrong_in_bfloat16(x.float(), *pairs, groups)
