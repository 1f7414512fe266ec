"""Launch the Triton kernels of bipolar attention; the first launch imports triton."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbsa.ops import triton_support
from mmbsa.ops.bipolar_attention.common import LN2, unnormalised, unnormalised_backward
from mmbsa.ops.exact import MAX_ROW

#: The largest number of channels per head whose operands and accumulators fit into one program.
MAX_WIDTH = 256


def refuses(
    q: Tensor, k: Tensor, v: Tensor, normalizer: str, product: str, scale: float
) -> str | None:
    """Return the reason why the kernels do not support a call, or None if they do."""
    if normalizer == 'none':  # no kernel: the linear product of ``common``
        return None
    if v.dtype == torch.float64:
        return 'the kernels support float16, bfloat16 and float32, not float64'
    width = max(q.size(-1), v.size(-1))
    if width > MAX_WIDTH:
        return f'the kernels support heads of at most {MAX_WIDTH} channels, got {width}'
    if k.size(-2) > MAX_ROW:
        return f'g is exact for at most {MAX_ROW} keys, got {k.size(-2)}'
    return triton_support.wrong_device(v)


def slower(q: Tensor, k: Tensor, v: Tensor, normalizer: str, product: str, scale: float) -> bool:
    """Return whether ``impl='auto'`` should prefer another implementation than the Triton kernels.

    True for CPU tensors: Triton's interpreter runs there, and only to check results.
    """
    return v.device.type == 'cpu'


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    g: Tensor,
    weight_sum: Tensor,
    product: str,
    normalizer: str,
    scale: float,
) -> None:
    """Compute the forward with Triton kernels; arguments as in ``common``."""
    if normalizer == 'none':
        out.copy_(unnormalised(q, k, v, scale))
        return
    from mmbsa.ops.bipolar_attention import triton as kernel

    modes = _modes(q, k, v, product, normalizer, scale)
    with triton_support.device_of(v):
        kernel.bipolar_attention_fwd_kernel[_grid(q.shape[:2], q.size(-2), 'BM')](
            q,
            k,
            v,
            out,
            g,
            weight_sum,
            scale if normalizer == 'shiftmax' else scale / LN2,
            *q.stride(),
            *k.stride(),
            *v.stride(),
            **_sizes(q, k, v),
            **modes,
            DIRECT=_direct(q, v, modes),
            **exactness(q, k, modes),
            FIXED_K=_fixed(k),
        )


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    g: Tensor,
    weight_sum: Tensor,
    product: str,
    normalizer: str,
    scale: float,
    grad: str,
):
    """Compute the backward with Triton kernels; arguments as in ``common``.

    Each gradient has the memory layout of its operand.
    """
    if normalizer == 'none':
        return unnormalised_backward(grad_out, q, k, v, scale)
    from mmbsa.ops.bipolar_attention import triton_backward as kernel

    shiftmax = normalizer == 'shiftmax'
    modes = _modes(q, k, v, product, normalizer, scale)
    modes['CLAMP'] = clamped(q.size(-1))
    factor, slope, exponent = (scale, scale * LN2, g) if shiftmax else (scale / LN2, scale, g / LN2)
    grads = [torch.empty_like(x, dtype=v.dtype) for x in (q, k, v)]
    delta = torch.empty_like(g)
    sizes = _sizes(q, k, v)
    with triton_support.device_of(v):
        kernel.bipolar_attention_bwd_q_kernel[_grid(q.shape[:2], q.size(-2), 'BM')](
            grad_out,
            q,
            k,
            v,
            out,
            exponent,
            weight_sum,
            delta,
            grads[0],
            factor,
            slope,
            *grad_out.stride(),
            *q.stride(),
            *k.stride(),
            *v.stride(),
            *out.stride(),
            *grads[0].stride(),
            **sizes,
            **modes,
            STE=not shiftmax or grad == 'ste',
            FIXED_K=_fixed(k),
        )
        kernel.bipolar_attention_bwd_kv_kernel[_grid(q.shape[:2], k.size(-2), 'BN')](
            grad_out,
            q,
            k,
            v,
            exponent,
            delta,
            grads[1],
            grads[2],
            factor,
            slope,
            *grad_out.stride(),
            *q.stride(),
            *k.stride(),
            *v.stride(),
            *grads[1].stride(),
            *grads[2].stride(),
            **sizes,
            **modes,
            FIXED_Q=_fixed(q),
        )
    return tuple(grads)


def _modes(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, scale: float) -> dict:
    """Return the modes of the kernels, see the docstring of ``triton``."""
    shiftmax, spikes = normalizer == 'shiftmax', product != 'real'
    return dict(SHIFTMAX=shiftmax, SPIKES=spikes, WHOLE=shiftmax and spikes and scale == 1.0)


def exactness(q: Tensor, k: Tensor, modes: dict) -> dict:
    """Return width and number of the windows in which ``_exceeds`` adds bits."""
    length = k.size(-2).bit_length()
    reach = 1 << length  # all rows are decided within so many exponents below their maximum
    if modes['WHOLE']:
        reach = min(reach, 2 * q.size(-1))
    bits = 62 - length
    return dict(BITS=bits, WINDOWS=-(-(reach + length + 1) // bits))


def clamped(d: int) -> bool:
    """Return whether x - g >= -2 d - bit_length(n_k) can be below the exponents of float32."""
    return 2 * d + 25 > 126


def _direct(q: Tensor, v: Tensor, modes: dict) -> bool:
    """Return whether the kernels may skip the subtraction of the maximum.

    2^-64 to 2^64 times n values of usual size neither overflow nor underflow in float32 and
    bfloat16.
    """
    return modes['WHOLE'] and q.size(-1) <= 64 and v.dtype != torch.float16


def _sizes(q: Tensor, k: Tensor, v: Tensor) -> dict:
    """Return the sizes that the kernels get.

    The channels of a head are compile-time constants, padded to the sizes of matrix units. The
    order of magnitude of the number of tokens is a key of the autotuner.
    """
    least = 32 if q.dtype == torch.int8 else 16
    (d, d_v), (n_q, n_k) = (q.size(-1), v.size(-1)), (q.size(-2), k.size(-2))
    return dict(
        heads=q.size(1),
        n_q=n_q,
        n_k=n_k,
        bucket_q=n_q.bit_length(),
        bucket_k=n_k.bit_length(),
        D=d,
        D_V=d_v,
        BD=max(least, 1 << (d - 1).bit_length()),
        BDV=max(16, 1 << (d_v - 1).bit_length()),
    )


def _grid(heads: Sequence[int], n: int, block: str):
    """Return a grid of one program per block of a head.

    Neighbouring programs have the same head, so its operands stay in the cache.
    """
    return lambda config: (-(-n // config[block]) * heads[0] * heads[1],)


def _fixed(x: Tensor) -> int:
    """Return the number of tokens if it must be a compile-time constant, otherwise -1.

    Triton's interpreter supports loops up to constants only.
    """
    return x.size(-2) if triton_support.INTERPRETED else -1
