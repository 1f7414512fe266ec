"""Quantisers of a twin network: whole numbers that are processed bit by bit, without a membrane."""

import torch
from torch import Tensor, nn

from mmbsa.energy import sums
from mmbsa.energy.rules.registry import Call
from mmbsa.energy.tags import Tag
from mmbsa.spiking import SpikeDomain


class Quantiser(nn.Module):
    r"""Real values -> whole numbers times a unit: :math:`u \cdot round(clip(x L / s, low, L))`.

    Args:
        bits: bits of the result, with the sign.
        levels: largest whole number L.
        scale: input s that maps to L.
        unit: factor u of the output.
        signed: whether ``low`` is -L instead of 0; bits are then those of magnitudes. False by
            default.

    Raises:
        ValueError: the levels do not fit in the bits, or ``scale`` or ``unit`` is not positive.
    """

    def __init__(self, bits: int, levels: int, scale: float, unit: float, signed: bool = False):
        super().__init__()
        if not 1 <= levels < 2 ** (bits - signed) or scale <= 0 or unit <= 0:
            raise ValueError(
                f'Quantiser: {bits} bits (signed={signed}) do not hold {levels} levels, or '
                f'scale={scale} and '
                f'unit={unit} are not positive'
            )
        self.bits, self.levels, self.scale, self.unit, self.signed = (
            bits,
            levels,
            scale,
            unit,
            signed,
        )

    @property
    def domain(self) -> SpikeDomain:
        """Spike domain of the output."""
        return SpikeDomain(-self.levels if self.signed else 0, self.levels, self.unit)

    def forward(self, x: Tensor) -> Tensor:
        """Quantise x of any shape."""
        low = -self.levels if self.signed else 0
        return torch.round(x * (self.levels / self.scale)).clamp_(low, self.levels) * self.unit

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return (
            f'bits={self.bits}, levels={self.levels}, scale={self.scale:g}, '
            f'unit={self.unit:g}, signed={self.signed}'
        )


def quantise(call: Call, module: Quantiser, x: Tensor) -> None:
    """Add a row without arithmetic: rounding is part of the layer before it."""
    counts, detail = call.row('quantiser', ('input', x))
    size = call.out.numel()
    counts.outputs += size
    counts.out_bits += size * module.bits
    steps = call.tag(x).steps
    call.put(
        Tag(module.domain, f'quantiser {call.counter.current.name}', bits=module.bits, steps=steps)
    )
    if call.out.dim() == 5:
        sums.per_position(call.out, call.tag(call.out), 'bits', 2)
    detail.update(bits=module.bits, levels=module.levels)
