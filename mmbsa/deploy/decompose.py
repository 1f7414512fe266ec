"""Replacement of the mmbsa ops in exported graphs by operations that every runtime has.

``TABLE`` has one plain-torch function for each op of ``torch.ops.mmbsa`` that an inference graph
may contain, and for the weight gradient. Steps over T are unrolled. Shiftmax needs neither log2 nor
ceil: its exponent is counted exactly by comparisons.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.export import ExportedProgram

import mmbsa.ops  # noqa: F401  (registers torch.ops.mmbsa)
from mmbsa.ops.bipolar_attention.common import unnormalised
from mmbsa.ops.conv_weight_grad import reference as conv_weight_grad_reference
from mmbsa.ops.lif import reference as lif_reference
from mmbsa.ops.lif.common import Parameters
from mmbsa.ops.registration import working_dtype

#: number of bits for the number of keys of a row whose length is unknown before the graph runs.
_ROW_BITS = 24
#: largest difference of two scores of a row for which float32 represents all their powers of two.
_WIDEST = 230


def lif(x: Tensor, v0: Tensor | None, *parameters) -> tuple[Tensor, Tensor]:
    """Compute ``mmbsa::lif``: spikes (T, *) and the last membrane (*), empty without ``v0``.

    The arguments are those of the op, see :mod:`mmbsa.ops`.
    """
    *p, _ = parameters
    _, spikes, v = lif_reference.membranes(x, v0, Parameters(*p))
    spikes = torch.stack(spikes).to(x.dtype)
    return spikes, x.new_zeros(0, dtype=v.dtype) if v0 is None else v


def integer_spike(
    u: Tensor,
    low: float,
    high: float,
    norm: float,
    half_up: bool,
    inclusive: bool,
    impl: str,
    keep: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``mmbsa::integer_spike``: counts over ``norm``, the gradient's mask (uint8), and the
    counts (int8).

    The arguments are those of the op, see :mod:`mmbsa.ops`.
    """
    count = u.clamp(low, high)
    passing = u.new_empty(0, dtype=torch.uint8)
    if keep:
        inside = count.eq(u) if inclusive else (u > low).logical_and(u < high)
        passing = inside.to(torch.uint8)
    count = whole = (count + 0.5).floor() if half_up else count.round()
    if norm != 1:
        # a product with a power of two is exact, and faster than a quotient
        count = whole * (1 / norm) if math.frexp(norm)[0] == 0.5 else whole / norm
    whole = whole if keep == 2 else u.new_empty(0)
    return count, passing, whole.to(torch.int8)


def bipolar_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    product: str,
    normalizer: str,
    scale: float,
    grad: str,
    impl: str,
    units: Sequence[float] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``mmbsa::bipolar_attention``: the output, and the statistics of the rows.

    The arguments are those of the op, see :mod:`mmbsa.ops`.
    """
    dtype = working_dtype(v.dtype)
    q, k, values, empty = q.to(dtype), k.to(dtype), v.to(dtype), v.new_zeros(0, dtype=dtype)
    if normalizer == 'none':
        if all(isinstance(n, int) for n in (*q.shape, *v.shape)):
            return unnormalised(q, k, v, scale).to(v.dtype), empty, empty
        out = q @ (k.transpose(-1, -2) @ values)  # linear in the number of tokens
        return (out * scale).to(v.dtype), empty, empty
    widest = q.size(-1) * (2 if product == 'ternary' else 1)
    if normalizer == 'shiftmax' and product != 'real' and scale == 1.0 and widest <= _WIDEST:
        out, g, total = _spiking_shiftmax(q, k, values, widest)
        return out.to(v.dtype), g, total
    score = q @ k.transpose(-1, -2)
    if scale != 1.0:
        score = score * scale
    if normalizer == 'softmax':
        g = torch.logsumexp(score, -1, keepdim=True)
        return (torch.exp(score - g) @ values).to(v.dtype), g.squeeze(-1), empty
    top = score.amax(-1, keepdim=True).floor()
    exponent = _exponent(top - score).to(dtype)
    weight = torch.exp2(score - top - exponent)
    total = weight.sum(-1).clamp(0.5, 1.0)
    return (weight @ values).to(v.dtype), (top + exponent).squeeze(-1), total


def shiftmax(x: Tensor, dim: int, grad: str, impl: str) -> Tensor:
    """Compute ``mmbsa::shiftmax``: weights with the shape of x.

    The arguments are those of the op, see :mod:`mmbsa.ops`.
    """
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    rows = x.to(
        torch.float64 if dtype == torch.float64 or not x.is_floating_point() else torch.float32
    )
    rows = rows.movedim(dim, -1)
    gap = rows.amax(-1, keepdim=True).floor() - rows
    weight = torch.exp2(-gap - _exponent(gap).to(gap.dtype))
    return weight.movedim(-1, dim).to(dtype)


def conv_weight_grad(
    x: Tensor,
    grad: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    channels_last: bool,
    impl: str,
) -> Tensor:
    """Compute ``mmbsa::conv_weight_grad``: (O, C / groups, kh, kw).

    The arguments are those of the op, see :mod:`mmbsa.ops`.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return conv_weight_grad_reference.compute(x, grad, kernel_size, stride, padding, groups, layout)


def _row_bits(n: int | torch.SymInt) -> int:
    return n.bit_length() if isinstance(n, int) else _ROW_BITS


def _windowed(
    window_sum: Callable[[int], Tensor],
    windows: int,
    width: int,
    bits: int,
    sticky: Tensor | None = None,
) -> Tensor:
    """Return ceil(log2 total) of a total whose bits are summed in windows, see ``mmbsa.ops.exact``.

    Args:
        window_sum: index w -> sum of the powers 2^(w * width - gap) of this window, (..., 1)
            float64, exact.
        windows: number of windows.
        width: bits per window; ``width + bits <= 52``.
        bits: bits of the number of keys.
        sticky: (..., 1) bool, whether a bit is set below the last window; None (default) for no.

    Returns:
        float64 (..., 1).
    """
    below = None if sticky is None else sticky.double() * 0.5  # in units of the next higher bit
    for index in reversed(range(windows)):
        total = window_sum(index)
        if below is not None:
            total = total + below * 2.0 ** (1 - width)
        # Bits below the lowest bit of the next window count as half of that bit: more than zero,
        # and no carry.
        carry = (total / 2).floor()
        below = carry + (total > 2 * carry).double() * 0.5
    return sum((total > 2.0**i).double() for i in range(bits + 1))


def _exponent(gap: Tensor) -> Tensor:
    """Return ceil(log2 sum_j 2^-gap_j) of gaps > -1 (..., n) as float64 (..., 1).

    A gap of inf is a key that is not counted. The result is exact for whole gaps. If the row length
    is unknown before the graph runs, three windows are summed, and smaller powers count as sticky:
    the result is exact unless more than 70 consecutive bits are set.
    """
    n, gap = gap.size(-1), gap.double()
    bits = _row_bits(n)
    width = 52 - bits
    far = n + bits if isinstance(n, int) else 3 * width
    windows = -(-far // width)
    sticky = ((gap >= windows * width) & (gap < torch.inf)).any(-1, keepdim=True)

    def window_sum(index: int) -> Tensor:
        inside = gap < (index + 1) * width
        if index:
            inside = inside & (gap >= index * width)
        return torch.where(inside, torch.exp2(index * width - gap), 0.0).sum(-1, keepdim=True)

    return _windowed(window_sum, windows, width, bits, sticky)


def _spiking_shiftmax(
    q: Tensor, k: Tensor, v: Tensor, widest: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return output, exponent and sum of the weights for spikes q, k, whose scores are integers.

    An operation on all scores needs as much memory traffic as a large part of the network.
    Therefore this function uses few of them. For many channels the powers of two share a factor
    2^``scaling``, which keeps them in the range of the dtype.

    Args:
        q, k, v: (..., n, d), (..., n, d), (..., n, d_v) of one floating-point dtype.
        widest: the scores of a row differ by at most ``widest``.
    """
    scaling = max(0, widest - 128) if v.dtype == torch.float32 else 0
    ln_score = (q * math.log(2)) @ k.transpose(-1, -2)
    ln_top = ln_score.amax(-1, keepdim=True)
    powers = _powers(ln_score, scaling * math.log(2) - ln_top)

    bits = _row_bits(k.size(-2))
    width = 52 - bits
    windows = widest // width + 1
    exact = powers.double()

    keys = torch.ones_like(exact[..., :1, :]).sum(-1, keepdim=True)

    def window_sum(w: int) -> Tensor:
        # Window w sums the part of every power between its lower and its upper edge. This form
        # avoids faults of the export to ONNX: the exporter stores numbers as float32; onnxscript's
        # rewriter removes differences with numbers below 1e-8, and confuses the bounds of two
        # clamps of one tensor.
        part = exact.clamp(max=2.0 ** (scaling + 1 - w * width)) if w else exact
        places = w * width - scaling
        if w == windows - 1:
            total = part.sum(-1, keepdim=True)
            return total * 2.0 ** (places // 2) * 2.0 ** (places - places // 2)
        part = (part * 2.0 ** (places + width - 1)).clamp(min=1.0)  # the lower edge is 1
        return (part.sum(-1, keepdim=True) - keys) * 2.0 ** (1 - width)

    exponent = _windowed(window_sum, windows, width, bits)
    factor = _powers(-math.log(2) * exponent, 0.0)
    weights = powers * 2.0**-scaling if scaling else powers
    out = (weights @ v) * factor.to(v.dtype)
    total = (exact.sum(-1) * (factor * 2.0**-scaling).squeeze(-1)).to(v.dtype).clamp(0.5, 1.0)
    g = (ln_top / math.log(2)).round() + exponent
    return out, g.squeeze(-1).to(v.dtype), total


def _powers(ln: Tensor, shift: Tensor | float) -> Tensor:
    """Return exp(ln + shift), rounded to the nearest power of two.

    The input may be approximate; the result is an exact power. ``exp`` is the only function of
    powers that is fast in every runtime, and its result is not exact. Adding a number whose last
    bit has the value of the power, and subtracting it, rounds the power. A fused multiply-add gives
    the same result.
    """
    bits = 52 if ln.dtype == torch.float64 else 23
    large = torch.exp(ln + (shift + math.log(1.5 * 2.0**bits)))
    return (large * (1 / (1.5 * 2.0**bits)) + large) - large


#: op -> plain-torch function with the same arguments and results.
TABLE: dict[torch._ops.OpOverload, Callable] = {
    torch.ops.mmbsa.lif.default: lif,
    torch.ops.mmbsa.integer_spike.default: integer_spike,
    torch.ops.mmbsa.bipolar_attention.default: bipolar_attention,
    torch.ops.mmbsa.shiftmax.default: shiftmax,
    torch.ops.mmbsa.conv_weight_grad.default: conv_weight_grad,
}


def own_ops(exported: ExportedProgram) -> list[str]:
    """Return the sorted names of the ops of ``torch.ops.mmbsa`` in a graph."""
    names = {
        str(node.target)
        for module in exported.graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
        if node.op == 'call_function'
    }
    return sorted(name for name in names if name.startswith('mmbsa.'))


def decompose(exported: ExportedProgram) -> ExportedProgram:
    """Return the same program with core operations of PyTorch only; it runs without mmbsa.

    Args:
        exported: program from ``torch.export.export`` or :func:`mmbsa.deploy.export_torch`; it is
            not changed.

    Raises:
        ValueError: an op of mmbsa has no plain version; the message names it.
    """
    table = torch.export.default_decompositions()
    table.update(TABLE)
    plain = exported.run_decompositions(table)
    left = own_ops(plain)
    if left:
        raise ValueError(
            f'decompose: no plain version of {", ".join(left)}; there are '
            f'{", ".join(sorted(map(str, TABLE)))}'
        )
    return plain
