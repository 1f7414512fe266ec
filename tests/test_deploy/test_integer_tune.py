from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_integer_network import MEAN, STD, classifier, pixels

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy.integer import IntegerNetwork, Rules, calibrate
from mmbsa.deploy.integer.fixed import quantize_weight
from mmbsa.deploy.integer.tune import FRACTIONS, StraightThrough


def prepared():
    model = classifier('Spikformer', num_steps=2)
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (MEAN, STD))
    model.data_preprocessor = SimpleNamespace(mean=mean, std=std)
    return model


def test_calibrate_takes_the_finest_step_that_leaves_a_bit():
    model, photos = prepared(), pixels(3)
    network = calibrate(model, photos, Rules(potential_bits=12), batch=2)
    chosen = network.rules.fraction
    assert network.rules.potential_bits == 12 and chosen in FRACTIONS and chosen < max(FRACTIONS)
    finer = FRACTIONS[FRACTIONS.index(chosen) - 1]
    with pytest.raises(OverflowError):
        IntegerNetwork(model, photos[:1], rules=Rules(potential_bits=11, fraction=finer)).run(
            photos
        )
    assert 12 in {layer.bits.get('output') for layer in network.report}


def test_calibrate_refuses():
    with pytest.raises(ValueError, match='there are no photos'):
        calibrate(prepared(), pixels(1)[:0])
    with pytest.raises(OverflowError, match='do not fit 3 bits'):
        calibrate(prepared(), pixels(1), Rules(potential_bits=4), fractions=(8,))


def test_straight_through_rounds_as_the_network_does():
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight.requires_grad_(True)
    rounded = StraightThrough(Rules(weight_bits=4))(weight)
    integers, scale = quantize_weight(weight.detach().double().numpy(), 4, False)
    found = rounded.detach().numpy() / scale.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(found, integers, atol=1e-5)
    factor = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    (rounded * factor).sum().backward()
    assert torch.equal(weight.grad, factor)
