"""Whole numbers that stand for real ones, and the shifts between their formats.

Rounding rules, everywhere in the integer network:

* :func:`shift` to the right rounds to nearest, halves up: ``(x + 2^(n-1)) >> n``;
* leaks of membranes floor: ``x >> n`` (arithmetic, towards minus infinity). A floored membrane
  reaches a whole threshold exactly when the membrane before the shift does; one that is rounded to
  nearest fires up to half a step too early;
* integer neurons round halves to even, as ``torch.round`` does, or up, as their config says.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rules:
    """Widths of an integer network.

    Args:
        weight_bits: of signed weights.
        first_bits: of the weights that pixels are multiplied by, if that is more than weight_bits:
            pixels are never zero, so errors of these weights reach every neuron.
        fraction: bits below the point of membranes, residual streams and other potentials: their
            step is 2^-fraction.
        potential_bits: of a signed potential, sign included.
        accumulator_bits: of sums within a layer, sign included.
        spare: bits that potentials must leave unused, below potential_bits.
        guard: bits that V is widened by before it is shifted by Shiftmax's weights.
        multiplier_bits: of the multipliers that ``multiply`` allows; their relative error is at
            most 2^-multiplier_bits.
        multiply: whether factors that are no power of two may become a multiplication and a shift:
            scales of weights, leaks, layer scales, means. Without it, weights get power-of-two
            scales, and other such factors are refused.
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
    """An array of integers and what they stand for: ``data * 2^-fraction * unit``.

    Args:
        data: int64.
        fraction: bits below the point.
        unit: what is left of a norm that is no power of two; the next weights take it in.
        limit: largest magnitude of ``data`` for counts of spikes, which are exact; None for
            potentials.
    """

    data: np.ndarray
    fraction: int = 0
    unit: float = 1.0
    limit: int | None = None

    def real(self) -> np.ndarray:
        """What the integers stand for, float64; for reports and tests."""
        return self.data * (2.0**-self.fraction * self.unit)


def shift(x: np.ndarray, places: int | np.ndarray) -> np.ndarray:
    """x * 2^-places: rounded to nearest, halves up; exact to the left. Places are one number or
    broadcast against x.

    Raises:
        OverflowError: a shift to the left that leaves 64 bits.
    """
    places = np.asarray(places)
    left, right = np.maximum(-places, 0), np.maximum(places, 0)
    if left.any():
        check_width('shift to the left', x, 64 - int(left.max()))
        x = x << left
    return (x + ((1 << right) >> 1)) >> right if right.any() else x


def bits_of(low: int, high: int) -> int:
    """Bits of a signed integer that holds low .. high (unsigned where low is not negative)."""
    if low >= 0:
        return max(int(high).bit_length(), 1)
    return 1 + max(int(high).bit_length(), (-int(low) - 1).bit_length())


def check_width(name: str, x: np.ndarray, bits: int) -> None:
    """Raise OverflowError unless every value fits a signed integer of so many bits."""
    if not isinstance(x, np.ndarray):
        x.narrow(bits)  # a symbol of the integer graph has bounds instead of values
    elif x.size:
        low, high = int(x.min()), int(x.max())
        if not -(1 << (bits - 1)) <= low <= high < 1 << (bits - 1):
            raise OverflowError(f'{name}: values {low} .. {high} do not fit {bits} bits')


def power_of_two(value: float) -> int | None:
    """k where value is 2^k, else None."""
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else None


def as_ratio(value: float, bits: int) -> tuple[int, int]:
    """(multiplier, places) with value ~ multiplier * 2^-places and a multiplier of at most ``bits``
    bits."""
    if value == 0:
        return 0, 0
    places = bits - 1 - math.frexp(abs(value))[1]
    return int(round(value * 2.0**places)), places


def quantize_weight(weight: np.ndarray, bits: int, multiply: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights (O, ...) -> integers of ``bits`` bits and a scale per output channel (O,): weight ~
    integers * scale.

    Scales are powers of two unless ``multiply``.
    """
    most = (1 << (bits - 1)) - 1
    largest = np.abs(weight.reshape(len(weight), -1)).max(1)
    scale = np.where(largest > 0, largest / most, 2.0**-bits)
    if not multiply:
        scale = 2.0 ** np.ceil(np.log2(scale))
    integers = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(integers, -most, most).astype(np.int64), scale
