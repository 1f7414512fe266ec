import numpy as np
import pytest
import torch
from family_checks import settled

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy.integer import Fixed, IntegerNetwork, Rules
from mmbsa.deploy.integer.handlers.pointwise import times
from mmbsa.deploy.integer.handlers.products import distinct
from mmbsa.models.layers import fuse
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
