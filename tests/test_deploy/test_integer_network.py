import inspect

import numpy as np
import pytest
import torch
from family_checks import settled
from tiny_deploy import LIF
from torch import nn

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy.integer import Fixed, IntegerNetwork, Rules
from mmbsa.deploy.integer.fixed import bits_of
from mmbsa.deploy.integer.handlers.pointwise import times
from mmbsa.deploy.integer.handlers.products import _attention_operations, distinct
from mmbsa.models.layers import fuse
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS

BSA = dict(type='mmbsa.BipolarSelfAttention')
MEAN, STD = [118.0, 120.0, 110.0], [58.0, 60.0, 57.5]
FINE = Rules(
    weight_bits=24,
    fraction=24,
    potential_bits=48,
    accumulator_bits=62,
    guard=12,
    multiplier_bits=24,
    multiply=True,
)


def classifier(family, **kwargs):
    cls = MODELS.get(f'mmbsa.{family}')
    torch.manual_seed(0)
    return settled(MODELS.build(cls.classifier_cfg(cls.small_arch, 10, **kwargs))).float()


def pixels(batch=2, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)


def normalised(x, mean=MEAN):
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (mean, STD))
    return (torch.from_numpy(x).float() - mean) / std


@pytest.mark.parametrize(
    'family, kwargs',
    [
        ('Spikformer', dict(attention=BSA, num_steps=2)),
        ('SpikeDrivenTransformer', dict(num_steps=2)),
        ('ESpikeFormer', dict(attention=BSA, num_steps=1)),
        ('ESpikeFormer', dict(attention=BSA, num_steps=2)),
        ('Spikformer', dict(num_steps=4)),
    ],
)
def test_wide_integers_give_the_numbers_of_float(family, kwargs):
    """With 24 bits of weights and below the point, nothing but float32's own rounding is left."""
    model, x = classifier(family, **kwargs), pixels()
    with torch.no_grad():
        expected = fuse(model, merge=True)(normalised(x)).numpy()
    network = IntegerNetwork(model, x[:1], MEAN, STD, FINE)
    found = network.run(x)[0]
    assert found.data.dtype == np.int64 and expected.std() > 0.01
    np.testing.assert_allclose(found.real(), expected, rtol=0, atol=2e-5)
    assert (network(x) == expected.argmax(1)).all()


def test_a_mean_between_two_pixel_values():
    """Padding stands for the mean itself, in the middle of the map as at its border."""
    model, x, mean = classifier('Spikformer', num_steps=4), pixels(), [123.675, 116.28, 103.53]
    with torch.no_grad():
        expected = fuse(model, merge=True)(normalised(x, mean)).numpy()
    found = IntegerNetwork(model, x[:1], mean, STD, FINE).run(x)[0].real()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_eight_bits_without_multiplications():
    """Weights of 8 bits and shifts alone; the report says every width and names what multiplies."""
    network = IntegerNetwork(
        classifier('Spikformer', attention=BSA, num_steps=2), pixels(1), MEAN, STD
    )
    first, *rest = network.report
    assert first.kind == 'conv' and 'multiplications' in first.operations
    assert first.bits['weight'] == 12 and {
        layer.bits['weight'] for layer in rest if layer.kind == 'conv'
    } == {8}
    multiplying = [layer.name for layer in rest if 'multiplications' in layer.operations]
    assert all(layer.bits for layer in network.report) and not any(
        'conv' in name for name in multiplying
    )
    kinds = {layer.kind for layer in network.report}
    assert {'conv', 'lif', 'attention, shiftmax', 'linear'} <= kinds
    assert len(network.table().splitlines()) == 2 + len(network.report)
    integers = [
        array
        for arrays in network.integers.values()
        for array in arrays
        if isinstance(array, np.ndarray)
    ]
    assert integers and all(array.dtype == np.int64 for array in integers) and not network.source
    x = pixels(3)
    together = network.run(x)[0].data
    apart = np.concatenate([network.run(x[i : i + 1])[0].data for i in range(3)])
    assert (together == apart).all()


def test_the_first_layer_is_unbiased():
    """Errors of its weights meet pixel - mean: a picture of the mean gives the exact bias."""
    model, mean = classifier('Spikformer', num_steps=1), [118, 120, 110]
    x = np.broadcast_to(np.uint8(mean).reshape(1, 3, 1, 1), (1, 3, 32, 32))
    with torch.no_grad():
        bias = fuse(model, merge=True).backbone.stem.conv.bias.numpy()
    network = IntegerNetwork(model, x, mean, STD, Rules(weight_bits=4, first_bits=4))
    weights, biases, _, places, _ = next(iter(network.integers.values()))
    sums = (weights * np.reshape(mean, (1, 3, 1, 1))).sum((1, 2, 3)) + biases[0, :, 16, 16]
    step = 2.0 ** -(places.reshape(-1) + network.rules.fraction)
    assert (np.abs(sums * step - bias) <= step / 2 * (1 + 1e-9)).all() and bias.any()


def test_distinct_biases_are_counted_once():
    """Only the border of a padded map differs: 3 x 3 of 5 x 6 places are stored."""
    biases = np.full((1, 2, 5, 6), 7)
    biases[:, :, 0] += 1
    biases[:, :, -1] += 2
    biases[..., 0] += 4
    biases[..., -1] += 8
    assert distinct(biases).shape == (1, 2, 3, 3)
    assert distinct(biases[:, :, 1:-1, 1:-1]).shape == (1, 2, 1, 1)


class Net(nn.Module):
    """A function of modules."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleDict(modules)

    def forward(self, x):
        return self.function(x, **self.parts)


def integer(net, x, rules=None):
    return IntegerNetwork(net, x, MEAN, STD, rules)


def conv(*args, **kwargs):
    torch.manual_seed(0)
    return nn.Conv2d(*args, **kwargs)


@pytest.mark.parametrize('size', [1e-6, 1e-12, 1e-30, 0.0])
def test_a_channel_of_tiny_weights_is_its_bias(size):
    layer = conv(3, 2, 3)
    layer.weight.data[1] *= size
    layer.bias.data[:] = 1.0
    found = integer(nn.Sequential(layer), pixels()).run(pixels())[0].real()
    np.testing.assert_allclose(found[:, 1], 1.0, atol=1e-2)
    with torch.no_grad():
        np.testing.assert_allclose(found, layer(normalised(pixels())), atol=0.05)


def test_weights_that_are_not_finite_are_named():
    layer = conv(3, 2, 3)
    layer.weight.data[0, 0] = float('nan')
    with pytest.raises(ValueError, match='0: its weights or biases are not finite'):
        integer(nn.Sequential(layer), pixels())


def test_a_first_layer_may_have_groups_or_read_a_flat_picture():
    x, flat = pixels(), nn.Linear(3 * 8 * 8, 5)
    for net, image in (
        (nn.Sequential(conv(3, 6, 3, padding=1, groups=3)), x),
        (nn.Sequential(nn.Flatten(), flat), x[:, :, :8, :8]),
    ):
        with torch.no_grad():
            expected = net(normalised(image)).numpy()
        found = integer(net, image, FINE).run(image)[0].real()
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    'function, message',
    [
        (lambda x, lif: lif(x[None])[0], 'lif.* it reads pixels before a convolution'),
        (lambda x, conv: conv(x * 0.5), 'mul.* it reads pixels before a convolution'),
        (lambda x, conv: conv(x + 1), 'add.* it reads pixels before a convolution'),
        (lambda x: torch.einsum('bchw,dc->bdhw', x, torch.ones(2, 3)), 'it is real-valued'),
        (lambda x, conv: conv(x).clamp(min=0), 'it has one bound'),
        (lambda x, flat: flat(x[..., :2, :2].permute(0, 2, 3, 1).flatten(1)), 'were moved'),
        (lambda x, conv: conv(x.flip(1)), 'it is real-valued'),
        (
            lambda x, conv, wide: wide(torch.cat([conv(x), x[..., 1:-1, 1:-1]], 1)),
            'it joins pixels',
        ),
        (lambda x, conv: interpolate(conv(x), 1.07), 'does not give a whole number of pixels'),
    ],
)
def test_what_has_no_integer_form_is_named(function, message):
    parts = dict(
        lif=build_neuron(LIF), conv=conv(3, 2, 3), wide=conv(5, 2, 1), flat=nn.Linear(12, 2)
    )
    names = inspect.signature(function).parameters
    net = Net(function, **{name: part for name, part in parts.items() if name in names})
    with pytest.raises(ValueError, match=message):
        integer(net, pixels())


def interpolate(x, factor):
    return nn.functional.interpolate(x, scale_factor=factor, mode='bilinear')


def test_sums_of_a_resize_need_bits():
    net = Net(lambda x, conv: interpolate(conv(x), 2), conv=conv(3, 2, 3))
    with pytest.raises(OverflowError, match='its sums need 32 bits, accumulator_bits=31'):
        integer(net, pixels(), Rules(accumulator_bits=31))


@pytest.mark.parametrize('rounding', ['half_even', 'half_up'])
@pytest.mark.parametrize('fraction', [0, 8])
def test_limits_of_counts_hold_them(rounding, fraction):
    """The accumulator of the next layer is checked with these limits."""
    neuron = build_neuron(dict(type='mmbsa.IntegerNode', levels=4, norm=1, rounding=rounding))
    first = conv(3, 4, 3)
    first.weight.data *= 30
    net = Net(lambda x, a, n, b: b(n(a(x)[None])[0]), a=first, n=neuron, b=conv(4, 2, 1))
    network = integer(net, pixels(), Rules(fraction=fraction))
    last = [layer for layer in network.report if layer.kind == 'conv'][-1]
    assert last.bits['input'] == bits_of(-4, 4) and last.operations['adds'] % 4 == 0


@pytest.mark.parametrize('rounding', ['half_even', 'half_up'])
def test_counts_may_be_scaled_up_before_a_neuron(rounding):
    first = build_neuron(dict(type='mmbsa.IntegerNode', levels=4, norm=1, rounding=rounding))
    again = build_neuron(dict(type='mmbsa.IntegerNode', levels=3, norm=1, rounding=rounding))
    net = Net(
        lambda x, a, n, m, b: b(m(4 * n(a(x)[None]))[0]),
        a=conv(3, 4, 3),
        n=first,
        m=again,
        b=conv(4, 2, 1),
    )
    with torch.no_grad():
        expected = net(normalised(pixels()))
    found = integer(net, pixels(), FINE).run(pixels())[0].real()
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    'limits, keys, expected',
    [
        ((1, 1, 1), 4, dict(adds=4 * 4 * 8 + 4 * 4 * 8)),  # (q k^T) v
        ((4, 1, 1), 4, dict(adds=256)),
        ((1, 1, 4), 4, dict(adds=128, multiplications=128)),
        ((1, 1, None), 4, dict(adds=128, multiplications=128)),
        ((4, 4, 1), 4, dict(adds=128, multiplications=128)),
        ((4, 1, 1), 16, dict(adds=16 * 8 * 8, multiplications=4 * 8 * 8)),  # q (k^T v)
        ((1, 4, 4), 16, dict(adds=4 * 8 * 8, multiplications=16 * 8 * 8)),
        ((1, 4, 1), 16, dict(adds=20 * 8 * 8)),
    ],
)
def test_operations_of_an_attention(limits, keys, expected):
    q, k, v = (
        Fixed(np.zeros((1, n, 8), np.int64), limit=limit)
        for n, limit in zip((4, keys, keys), limits)
    )
    assert _attention_operations(q, k, v, 'none') == expected
    found = _attention_operations(q, k, v, 'shiftmax')
    assert found['shifts'] == 4 * keys * 8 and ('multiplications' in found) == (
        limits[:2] == (4, 4)
    )


@pytest.mark.parametrize('rounding', ['half_even', 'half_up'])
def test_ties_of_a_norm_of_three_follow_the_neuron(rounding):
    """Potentials n + 1/2 times 3 lie on the thresholds of a neuron with norm 3."""
    first = conv(3, 1, 1)
    first.weight.data.zero_()
    neuron = build_neuron(dict(type='mmbsa.IntegerNode', levels=4, norm=3, rounding=rounding))
    second = conv(1, 1, 1, bias=False)
    second.weight.data.fill_(1.0)
    for value in (0.5, 1.5, 2.5, 3.5):
        first.bias.data.fill_(value)
        net = Net(lambda x, a, n, b: b(n(a(x)[None])[0]), a=first, n=neuron, b=second)
        with torch.no_grad():
            expected = net(normalised(pixels(1)))
        found = integer(net, pixels(1), Rules(fraction=3)).run(pixels(1))[0].real()
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_products_of_counts_are_reported_as_multiplications():
    network = IntegerNetwork(
        classifier('ESpikeFormer', num_steps=1), pixels(1), MEAN, STD, Rules(multiply=True)
    )
    kinds = {layer.kind: layer for layer in network.report}
    assert kinds['attention, none'].operations.keys() == {'multiplications'}
    network = IntegerNetwork(classifier('Spikformer', num_steps=2), pixels(1), MEAN, STD)
    kinds = {layer.kind: layer for layer in network.report}
    assert kinds['attention, none'].operations.keys() == {'adds'}


@pytest.mark.parametrize('factor', [0.125, 4, 0.3])
def test_times_moves_the_point_or_leaves_a_unit(factor):
    x = Fixed(np.arange(-5, 6), 3)
    found = times(None, None, x, factor)
    assert (found.data == x.data).all() and (found.unit == 1) == (factor != 0.3)
    np.testing.assert_allclose(found.real(), x.real() * factor, rtol=1e-15)


def test_integer_segmentor_predicts():
    pytest.importorskip('mmseg')
    from test_export import segmentor

    model, x = segmentor(), pixels(1)
    with torch.no_grad():
        expected = (
            fuse(model, merge=True).encode_decode(normalised(x), [dict(img_shape=(32, 32))]).numpy()
        )
    found = IntegerNetwork(model, x, MEAN, STD, FINE).run(x)[0].real()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3 and expected.std() > 0.01


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(attention=dict(type='mmbsa.SoftmaxAttention')), 'softmax'),
        (dict(neuron=dict(type='mmbsa.LIFNode', tau=3.0)), 'not a shift'),
        (dict(neuron=dict(type='mmbsa.ParametricLIFNode')), 'no integer form'),
    ],
)
def test_what_is_real_valued_is_refused_by_name(kwargs, words):
    with pytest.raises(ValueError, match=words):
        IntegerNetwork(classifier('Spikformer', num_steps=2, **kwargs), pixels(1), MEAN, STD)


def test_bad_input():
    model = classifier('Spikformer', num_steps=1)
    with pytest.raises(ValueError, match='no data preprocessor with a mean: give mean'):
        IntegerNetwork(model, pixels(1))
    with pytest.raises(OverflowError, match='need .. bits, accumulator_bits=12'):
        IntegerNetwork(model, pixels(1), MEAN, STD, Rules(accumulator_bits=12))
    with pytest.raises(OverflowError, match='do not fit 6 bits'):
        IntegerNetwork(model, pixels(1), MEAN, STD, Rules(potential_bits=6))
    network = IntegerNetwork(model, pixels(1), MEAN, STD)
    with pytest.raises(ValueError, match='pixels must be uint8 .B, 3, 32, 32., got float32'):
        network.run(pixels(1).astype(np.float32))
