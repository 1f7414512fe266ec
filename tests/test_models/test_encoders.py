"""Codes of pixels, against their formulas."""

import math

import pytest
import torch

from mmbsa.models.encoders import DirectEncoder, PhaseEncoder, RateEncoder, TTFSEncoder
from mmbsa.registry import MODELS

PIXELS = torch.arange(256).view(1, 1, 16, 16) / 255


def test_direct_repeats():
    x = torch.randn(2, 3, 4, 5)
    out = DirectEncoder(3)(x)
    assert out.shape == (3, 2, 3, 4, 5) and all(torch.equal(step, x) for step in out)


def test_rate_fires_with_the_probability_of_the_pixel():
    torch.manual_seed(0)
    spikes = RateEncoder(4000)(PIXELS)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    error = (spikes.mean(0) - PIXELS).abs()
    assert error.max() < 5 * 0.5 / math.sqrt(4000)
    assert not spikes[:, 0, 0, 0, 0].any() and spikes[:, 0, 0, -1, -1].all(), (
        'black never fires, white always'
    )


def test_rate_draws_anew_in_training_only():
    encoder, x = RateEncoder(4), PIXELS.expand(3, -1, -1, -1)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    first = encoder(x)
    assert torch.equal(first, encoder(x)) and torch.equal(first[:, :1], encoder(x[:1]))
    assert not torch.equal(first, RateEncoder(4, seed=1).eval()(x))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize('steps', [1, 4, 7])
def test_first_spike_comes_earlier_for_brighter_pixels(steps):
    spikes = TTFSEncoder(steps)(PIXELS).flatten(1)
    for index, x in enumerate(PIXELS.flatten().tolist()):
        time = 1 + math.floor(torch.tensor((1 - x) * steps).item())
        expected = [1 / time if t == time else 0.0 for t in range(1, steps + 1)]
        torch.testing.assert_close(spikes[:, index], torch.tensor(expected))
    ones = TTFSEncoder(steps, amplitude='one')(PIXELS)
    assert torch.equal(ones.bool().flatten(1), spikes.bool()) and set(ones.unique().tolist()) <= {
        0.0,
        1.0,
    }


@pytest.mark.parametrize('latency', ['linear', 'log'])
def test_latency_of_spikingjelly(latency):
    spikes = TTFSEncoder(5, amplitude='one', latency=latency)(PIXELS)
    assert torch.equal(spikes.sum(0), torch.ones_like(PIXELS)), 'every pixel fires once'
    assert spikes[0, 0, 0, -1, -1] == 1 and spikes[-1, 0, 0, 0, 0] == 1


@pytest.mark.parametrize('steps', [1, 4, 8, 11])
def test_phase_sends_the_binary_digits(steps):
    spikes = PhaseEncoder(steps)(PIXELS).flatten(1)
    for index, x in enumerate(PIXELS.flatten().tolist()):
        value = min(math.floor(256 * x), 255)
        for t in range(steps):
            digit = t % 8
            assert spikes[t, index] == (2.0 ** -(digit + 1) if value >> (7 - digit) & 1 else 0)
    if steps == 8:
        assert (spikes.sum(0) - PIXELS.flatten()).abs().max() <= 1 / 256


@pytest.mark.parametrize('code', [RateEncoder, TTFSEncoder, PhaseEncoder])
def test_pixels_must_not_be_standardised(code):
    """STEP encodes pixels of zero mean (its defect D7); here that is an error that says what to
    change."""
    with pytest.raises(
        ValueError,
        match=r'is in \[-1.5, 2\]: set mean=\[0, 0, 0\] and std=\[255, 255, 255\] in',
    ):
        code(2)(torch.tensor([-1.5, 2.0]).view(1, 1, 1, 2))
    with pytest.raises(ValueError, match='event frames .* already have a time axis'):
        code(2)(torch.rand(1, 2, 3, 4, 4))
    rounded = code(2)(torch.tensor([-1e-7, 1 + 1e-6]).view(1, 1, 1, 2))
    assert torch.isfinite(rounded).all()


def test_bad_encoders_are_named():
    backbone = dict(
        type='mmbsa.Spikformer', arch=dict(embed_dims=8, depth=1, num_heads=1), num_steps=2
    )
    with pytest.raises(ValueError, match='encoder.num_steps=3 differs from num_steps=2'):
        MODELS.build(dict(backbone, encoder=dict(type='mmbsa.RateEncoder', num_steps=3)))
    with pytest.raises(TypeError, match='backbone.encoder.type=.* is not a subclass of Encoder'):
        MODELS.build(dict(backbone, encoder=dict(type='mmbsa.PSN')))
    for bad, message in ((dict(amplitude='two'), 'amplitude'), (dict(latency='cubic'), 'latency')):
        with pytest.raises(ValueError, match=message):
            TTFSEncoder(2, **bad)
    with pytest.raises(ValueError, match='bits'):
        PhaseEncoder(2, bits=0)


def test_first_spike_of_spikingjelly_needs_two_steps():
    x = torch.rand(2, 3, 4, 4)
    one = TTFSEncoder(num_steps=1, latency='linear').encode_pixels(x)
    assert torch.equal(one, torch.ones(1, *x.shape))
    two = TTFSEncoder(num_steps=2, latency='linear').encode_pixels(x)
    assert two.shape == (2, *x.shape) and (two.ne(0).sum(0) == 1).all()
