"""Spikes as bytes: what fits, and the exact way back."""

import pytest
import torch

from mmbsa.ops.bytes import fits, from_bytes, is_power_of_two, to_bytes


def test_fits_is_about_int8_and_the_unit():
    assert fits(-128, 127, 1.0) and not fits(-129, 0, 1.0) and not fits(0, 128, 1.0)
    assert fits(0, 1, 2.0**-99) and fits(0, 1, 2.0**99)
    assert not fits(0, 1, 2.0**-100) and not fits(0, 1, 2.0**100)


def test_powers_of_two_that_every_floating_dtype_has():
    assert all(is_power_of_two(2.0**power) for power in range(-10, 9))
    assert not any(map(is_power_of_two, (2.0**-11, 2.0**9, 3.0, 0.75)))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize('unit', [1.0, 0.25, 0.1, 1 / 3, 7.0])
def test_bytes_become_the_same_spikes(unit, dtype):
    counts = torch.arange(-128, 128)
    spikes = (counts.double() * unit).to(dtype)
    kept = to_bytes(spikes, unit)
    assert kept.dtype == torch.int8 and torch.equal(kept.long(), counts)
    assert torch.equal(from_bytes(kept, unit, dtype), spikes)
