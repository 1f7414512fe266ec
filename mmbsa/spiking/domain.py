"""The values that a spike tensor may hold; the neuron declares them, they are never guessed from
values."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: environment variable; '1' checks every spike tensor against the domain of its neuron.
CHECK_ENV = 'MMBSA_CHECK_SPIKES'


@dataclass(frozen=True)
class SpikeDomain:
    """A set of spike values: the integers from ``low`` to ``high``, times ``unit``.

    A real-valued tensor has no domain (None).

    Args:
        low: smallest count, 0 or negative.
        high: largest count, 0 or positive.
        unit: value of one spike, positive and finite.

    Raises:
        ValueError: not ``low <= 0 <= high``, or ``unit`` is not positive and finite.
    """

    low: int
    high: int
    unit: float = 1.0

    def __post_init__(self):
        if (
            int(self.low) != self.low
            or int(self.high) != self.high
            or not self.low <= 0 <= self.high
        ):
            raise ValueError(
                'SpikeDomain: low and high must be integers with low <= 0 <= high, got '
                f'low={self.low} and high={self.high}'
            )
        if not 0 < self.unit < float('inf'):
            raise ValueError(f'SpikeDomain: unit must be positive and finite, got {self.unit}')

    @property
    def signed(self) -> bool:
        """Whether spikes may be negative."""
        return self.low < 0

    @property
    def levels(self) -> int:
        """The largest number of binary spikes that one value represents."""
        return max(-self.low, self.high)

    @property
    def bits(self) -> int:
        """Number of bits that hold every count: 1 for binary spikes, 2 for ternary spikes."""
        return max((self.high - self.low).bit_length(), 1)

    def within(self, other: 'SpikeDomain | None') -> bool:
        """Return whether every value of this domain is also in ``other``; None means all real
        numbers."""
        if other is None:
            return True
        return self.unit == other.unit and other.low <= self.low and self.high <= other.high

    def contains(self, x: Tensor) -> bool:
        """Return whether all values of ``x`` are exactly in the domain (for 16-bit tensors after
        rounding)."""
        return not self._strangers(x).any()

    def check(self, x: Tensor, name: str) -> None:
        """Raise an error if ``x`` has a value outside of the domain.

        Args:
            x: a tensor of any shape.
            name: what the tensor is, for the message: ``'spikes of LIFNode'``.

        Raises:
            ValueError: a value is outside of the domain.
        """
        strangers = self._strangers(x)
        if strangers.any():
            value = x[strangers].flatten()[0].item()
            raise ValueError(
                f'{name} must be in {self}, found {value:g} '
                f'({int(strangers.sum())} of {x.numel()} values are outside)'
            )

    def _strangers(self, x: Tensor) -> Tensor:
        if not x.numel():
            return torch.zeros_like(x, dtype=torch.bool)
        count = (x.double() / self.unit).round().clamp(self.low, self.high)
        return x != (count * self.unit).to(x.dtype)

    def product(self, other: 'SpikeDomain | None') -> 'SpikeDomain | None':
        """Return the domain of the element-wise product of two spike tensors.

        Args:
            other: domain of the other tensor; None (real-valued) gives None.
        """
        if other is None:
            return None
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return SpikeDomain(min(ends), max(ends), self.unit * other.unit)

    def __str__(self) -> str:
        unit = '' if self.unit == 1 else f' x {self.unit:g}'
        return f'{{{self.low}..{self.high}}}{unit}'


#: spikes 0 and 1.
BINARY = SpikeDomain(0, 1)
#: spikes -1, 0 and 1.
TERNARY = SpikeDomain(-1, 1)


def counts(levels: int, unit: float = 1.0, signed: bool = False) -> SpikeDomain:
    """Return the domain of an integer neuron: 0 .. ``levels``, or -``levels`` .. ``levels``, times
    ``unit``.

    Args:
        levels: D, the largest count.
        unit: value of one spike; default 1.
        signed: whether counts may be negative; default False.
    """
    return SpikeDomain(-int(levels) if signed else 0, int(levels), float(unit))


def checks_spikes() -> bool:
    """Return whether ``MMBSA_CHECK_SPIKES=1`` requires a check of every spike tensor; False during
    compilation."""
    return not torch.compiler.is_compiling() and os.environ.get(CHECK_ENV, '0') not in ('', '0')


def domain_of(neuron: nn.Module | None) -> SpikeDomain | None:
    """Return the domain that a neuron declares.

    Args:
        neuron: a neuron; None or an identity is a real-valued path and gives None.

    Raises:
        TypeError: the module declares no domain; :func:`measure_domain` can find it.
    """
    if neuron is None or isinstance(neuron, nn.Identity):
        return None
    missing = object()
    domain: Any = getattr(neuron, 'domain', missing)
    if domain is not None and not isinstance(domain, SpikeDomain):
        raise TypeError(
            f'{type(neuron).__name__} declares no spike domain: set its attribute `domain` to a '
            'mmbsa.spiking.SpikeDomain, or to None if its output is real-valued'
        )
    return domain


@torch.no_grad()
def measure_domain(neuron: nn.Module, steps: int = 8, max_levels: int = 16) -> SpikeDomain | None:
    """Find the domain of a neuron that declares none, from its outputs for input currents of many
    sizes and both signs.

    The output may hold counts up to ``max_levels`` of one unit; any other output counts as
    real-valued, which is always correct. The neuron runs in evaluation mode on an input of shape
    (steps, 64), and if that raises an error on (steps, 2, 4, 4, 4). Its mode is restored.

    Args:
        neuron: a module that maps input currents (T, *) to spikes (T, *).
        steps: number of time steps of the test input; default 8.
        max_levels: largest count that is recognised; default 16.

    Returns:
        The smallest domain that contains all outputs, or None for real-valued outputs.

    Raises:
        TypeError: the neuron accepts neither input shape; it must declare its domain.
    """
    scales = torch.logspace(-2, 3, 32)
    drive = torch.cat([scales, -scales])
    generator = torch.Generator().manual_seed(0)
    jitter = 0.5 + torch.rand(steps, 64, generator=generator)
    training = neuron.training
    neuron.eval()
    error = None
    try:
        for x in (
            drive * jitter,
            (drive * jitter).view(steps, 4, 4, 4).unsqueeze(1).repeat(1, 2, 1, 1, 1),
        ):
            try:
                out = neuron(x.clone())
                break
            except (RuntimeError, ValueError, IndexError) as exc:
                error = exc
        else:
            raise TypeError(
                f'{type(neuron).__name__} declares no spike domain, and it could not be measured '
                f'({error}); set its attribute `domain` to a mmbsa.spiking.SpikeDomain or to None'
            )
    finally:
        neuron.train(training)
    return _smallest(out, max_levels)


def _smallest(spikes: Tensor, max_levels: int) -> SpikeDomain | None:
    values = spikes.unique().double()
    magnitudes = values.abs()[values != 0]
    if not values.isfinite().all() or not len(magnitudes):
        return None
    unit = magnitudes.min()
    counted = values / unit
    if (counted - counted.round()).abs().max() > 1e-6 or counted.abs().max() > max_levels:
        return None
    low, high = int(min(counted.min().round(), 0)), int(max(counted.max().round(), 0))
    return SpikeDomain(low, high, float(unit))
