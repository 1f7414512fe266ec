"""Fixed-point numbers, and the shifts between their formats.

Rounding rules, everywhere in the integer network:

* :func:`shift` to the right rounds to nearest, halves up: ``(x + 2^(n-1)) >> n``;
* leaks of membranes round down: ``x >> n`` (arithmetic, towards minus infinity). A membrane that
  is rounded down reaches a whole threshold exactly when the membrane before the shift does; one
  that is rounded to nearest fires up to half a step too early;
* Shiftmax shifts every V, extended by ``guard`` bits, down (``x >> n``); the sum of a row is then
  rounded to nearest, halves up;
* integer neurons round halves to even, as ``torch.round`` does, or up, as their config specifies.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rules:
    """Widths of an integer network.

    Args:
        weight_bits: bits of signed weights.
        first_bits: bits of the weights of the first layer, if larger than ``weight_bits``. Pixels
            are never zero, so errors of these weights reach every neuron.
        fraction: fractional bits of membranes, residual streams and other potentials: their step is
            2^-fraction.
        potential_bits: bits of a signed potential, with the sign.
        accumulator_bits: bits of sums within a layer, with the sign.
        spare: number of the highest of ``potential_bits`` that potentials must not use.
        guard: additional bits of V before it is shifted by Shiftmax's weights.
        multiplier_bits: bits of the multipliers that ``multiply`` allows; their relative error is
            at most 2^(1 - multiplier_bits).
        multiply: whether factors other than powers of two may become a multiplication and a shift:
            scales of weights, leaks, layer scales, means. Without it, scales of weights are powers
            of two, and other such factors raise ValueError.

    Raises:
        ValueError: a width is out of range.
    """

    weight_bits: int = 8
    first_bits: int = 12
    fraction: int = 8
    potential_bits: int = 24
    accumulator_bits: int = 32
    spare: int = 0
    guard: int = 8
    multiplier_bits: int = 16
    multiply: bool = False

    def __post_init__(self):
        for name, least, most in (
            ('weight_bits', 2, 24),
            ('first_bits', 2, 24),
            ('fraction', 0, 24),
            ('potential_bits', 2, 48),
            ('accumulator_bits', 8, 62),
            ('spare', 0, 8),
            ('guard', 0, 16),
            ('multiplier_bits', 2, 31),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise ValueError(
                    f'Rules: {name} must be an integer in {least}..{most}, got {value!r}'
                )

    @property
    def room(self) -> int:
        """Bits that a potential may use, sign included."""
        return self.potential_bits - self.spare


@dataclass(frozen=True)
class Fixed:
    """An array of integers with its format: the value is ``data * 2^-fraction * unit``.

    Args:
        data: int64.
        fraction: number of fractional bits.
        unit: remaining factor of a norm that is not a power of two; the next weights absorb it.
        limit: largest magnitude of ``data`` for counts of spikes, which are exact; None for
            potentials.
    """

    data: np.ndarray
    fraction: int = 0
    unit: float = 1.0
    limit: int | None = None

    def real(self) -> np.ndarray:
        """Return the real values, float64, for reports and tests."""
        return self.data * (2.0**-self.fraction * self.unit)


def shift(x: np.ndarray, places: int | np.ndarray) -> np.ndarray:
    """Return x * 2^-places: rounded to nearest, halves up; shifts to the left are exact.

    Args:
        x: int64, with magnitudes below 2^61.
        places: one number, or an array that broadcasts against x.

    Raises:
        OverflowError: the result of a shift to the left does not fit 64 bits.
    """
    places = np.minimum(np.asarray(places), 62)  # all results of a longer shift are 0
    left, right = np.maximum(-places, 0), np.maximum(places, 0)
    if left.any():
        check_width('shift to the left', x, 64 - int(left.max()))
        x = x << left
    return (x + ((1 << right) >> 1)) >> right if right.any() else x


def bits_of(low: int, high: int) -> int:
    """Return the bits of a signed integer for low .. high (unsigned if low >= 0)."""
    if low >= 0:
        return max(int(high).bit_length(), 1)
    return 1 + max(int(high).bit_length(), (-int(low) - 1).bit_length())


def check_width(name: str, x: np.ndarray, bits: int) -> None:
    """Raise OverflowError unless every value fits a signed integer of ``bits`` bits.

    Args:
        name: name of the layer and the quantity, for the message.
        x: integers, or a symbol of the integer graph.
        bits: width, with the sign.
    """
    if not isinstance(x, np.ndarray):
        x.narrow(bits)  # a symbol of the integer graph has bounds instead of values
    elif x.size:
        low, high = int(x.min()), int(x.max())
        if not -(1 << (bits - 1)) <= low <= high < 1 << (bits - 1):
            raise OverflowError(f'{name}: values {low} .. {high} do not fit {bits} bits')


def power_of_two(value: float) -> int | None:
    """Return k if value is 2^k, otherwise None."""
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else None


def as_ratio(value: float, bits: int) -> tuple[int, int]:
    """Return (multiplier, places) with value ~ multiplier * 2^-places.

    The multiplier has at most ``bits`` bits.
    """
    if value == 0:
        return 0, 0
    places = bits - 1 - math.frexp(abs(value))[1]
    return int(round(value * 2.0**places)), places


def quantize_weight(
    weight: np.ndarray, bits: int, multiply: bool, least: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Quantise weights (O, ...) to integers of ``bits`` bits, with a scale per output channel (O,).

    weight ~ integers * scale. Scales are powers of two unless ``multiply``.

    Args:
        weight: real weights.
        bits: width of the integers.
        multiply: whether scales may be other numbers than powers of two.
        least: smallest scale, one number or (O,); 0 by default.
    """
    most = (1 << (bits - 1)) - 1
    largest = np.abs(weight.reshape(len(weight), -1)).max(1)
    scale = np.maximum(np.where(largest > 0, largest / most, 2.0**-bits), least)
    if not multiply:
        scale = 2.0 ** np.ceil(np.log2(scale))
    integers = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(integers, -most, most).astype(np.int64), scale
