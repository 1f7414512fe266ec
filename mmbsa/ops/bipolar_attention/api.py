"""The public bipolar attention, its registration with ``torch.library``, and its validation."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from mmbsa.ops import dispatch, triton_support
from mmbsa.ops.bipolar_attention import launch, native, reference, sdpa
from mmbsa.ops.bipolar_attention.common import GRADS, NORMALIZERS, PRODUCTS, as_heads
from mmbsa.ops.bytes import from_bytes, is_power_of_two, to_bytes
from mmbsa.ops.registration import Op, batch_first, without_autocast, working_dtype

NAME = 'bipolar_attention'
#: Environment variable: 1 makes every call check q and k against its product; it reads both once
#: more.
CHECK = 'MMBSA_CHECK_SPIKES'
#: Implementations whose forward and whose backward take spikes as bytes; the others get them in v's
#: dtype.
BYTES_FORWARD = ('triton', 'native')
BYTES_BACKWARD = ('native',)

dispatch.register(
    NAME,
    dispatch.Implementation(
        'triton',
        launch.forward,
        launch.backward,
        missing=triton_support.missing,
        refuses=launch.refuses,
        slower=launch.slower,
    ),
)
dispatch.register(
    NAME,
    dispatch.Implementation(
        'native', native.forward, native.backward, missing=native.missing, refuses=native.refuses
    ),
)
dispatch.register(
    NAME, dispatch.Implementation('sdpa', sdpa.forward, sdpa.backward, refuses=sdpa.refuses)
)
dispatch.register(NAME, dispatch.Implementation('reference', reference.forward, reference.backward))


def bipolar_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    product: str = 'ternary',
    normalizer: str = 'shiftmax',
    scale: float = 1.0,
    grad: str = 'ste',
    impl: str = 'auto',
    units: Sequence[float] = (),
) -> Tensor:
    """Score = normalizer(scale * q k^T), out = Score v (BSA paper, eqs. 16-18): BMP, TMP and RMP
    with every normaliser.

    q and k are given fired. With ``normalizer='shiftmax'`` each weight is 2^(score - g), and g =
    ceil(log2 sum 2^score) is what exact integer arithmetic gives, in every implementation, for
    integer scores below 2^24 (2^53 in float64).

    Args:
        q: (..., n_q, d), any real dtype (int8 too); cast to v's dtype.
        k: (..., n_k, d), likewise.
        v: (..., n_k, d_v) float16, bfloat16, float32 or float64; the leading dimensions of all
            three are equal. Under autocast a float32 v takes autocast's dtype, as in
            ``scaled_dot_product_attention``.
        product: What q and k hold: ``'ternary'`` {-1, 0, 1} (TMP, the paper's), ``'binary'`` {0, 1}
            (BMP), ``'real'`` anything (RMP). Implementations rely on it: the backward keeps spikes
            as bytes, and kernels write 2^score as bits. The caller answers for it: q and k outside
            their product give wrong numbers, which differ between implementations, unless the
            environment variable ``MMBSA_CHECK_SPIKES=1`` makes every call check them. Neurons that
            count are ``'real'`` (whole scores get an exact g all the same).
        normalizer: ``'shiftmax'``, ``'softmax'`` (base e), or ``'none'`` (spiking self-attention,
            in linear time).
        scale: Factor of the scores. BSA has none; vanilla attention has d^-0.5.
        grad: Shiftmax's gradient, ``'ste'`` or ``'detach'``, see :func:`mmbsa.ops.shiftmax`. The
            others ignore it.
        impl: ``'auto'`` or one of ``implementations('bipolar_attention')``.
        units: values of one spike of q, k and v, powers of two, for which the backward may keep
            bytes: these operands are counts in -128 .. 127 times their unit. 0 where real-valued;
            by default all are, but q and k of a ternary or binary product.

    Returns:
        (..., n_q, d_v) in v's dtype, contiguous.

    Raises:
        ValueError: a shape, dtype, device or option does not fit, or q or k was found outside its
            product; the message names the argument.
        RuntimeError: the implementation asked for cannot take this call; with the reason.
    """
    _check(q, k, v, product, normalizer, grad)
    dtype = v.dtype
    if dtype == torch.float32 and torch.is_autocast_enabled(v.device.type):
        dtype = torch.get_autocast_dtype(v.device.type)
        v = v.to(dtype)
    if len(units) not in (0, 3) or any(unit and not is_power_of_two(unit) for unit in units):
        raise ValueError(f'{NAME}: units must be three powers of two or 0, got {units}')
    dispatch.check_name(NAME, impl)
    if product == 'real' or not q.dtype == k.dtype == torch.int8:  # spikes may stay bytes
        q, k = _cast(q, dtype), _cast(k, dtype)
    options = product, normalizer, float(scale), grad, impl
    return _OP(q, k, v, *options, *([list(map(float, units))] if units else []))[0]


def _check(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, grad: str) -> None:
    for name, value, choices in (
        ('product', product, PRODUCTS),
        ('normalizer', normalizer, NORMALIZERS),
        ('grad', grad, GRADS),
    ):
        if value not in choices:
            raise ValueError(f'{NAME}: {name} must be one of {choices}, got {value!r}')
    if v.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(f'{NAME}: v must be float16, bfloat16, float32 or float64, got {v.dtype}')
    for name, x in (('q', q), ('k', k), ('v', v)):
        if x.dim() < 2:
            raise ValueError(f'{NAME}: {name} must be (..., n, d), got shape {tuple(x.shape)}')
        if x.dtype.is_complex or x.dtype == torch.bool:
            raise ValueError(f'{NAME}: {name} must hold real numbers, got {x.dtype}')
        if x.device != v.device:
            raise ValueError(f'{NAME}: {name} is on {x.device}, v on {v.device}')
        if x.shape[:-2] != v.shape[:-2]:
            raise ValueError(
                f'{NAME}: {name} must lead with {tuple(v.shape[:-2])} as v does, got '
                f'{tuple(x.shape)}'
            )
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(
            f'{NAME}: q and k need one last dimension d > 0, got {tuple(q.shape)} and '
            f'{tuple(k.shape)}'
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f'{NAME}: k and v must have as many tokens, got {tuple(k.shape)} and {tuple(v.shape)}'
        )
    if k.shape[-2] == 0:
        raise ValueError(f'{NAME}: k must have at least one token, got shape {tuple(k.shape)}')


def check_spikes(name: str, x: Tensor, product: str) -> None:
    """Raise a ValueError unless x is in {-1, 0, 1} (ternary) or {0, 1} (binary product)."""
    allowed = dict(ternary=(-1, 0, 1), binary=(0, 1)).get(product)
    if allowed is None:
        return
    wrong = (x != 0) & (x != 1) & (x != allowed[0])
    if bool(wrong.any()):
        raise ValueError(
            f'{NAME}: {name} holds {float(x[wrong][0]):g}, but product={product!r} '
            f'allows only the values {allowed}; neurons that fire others need '
            f"product='real' (checked because {CHECK} is set)"
        )


@without_autocast
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    product: str,
    normalizer: str,
    scale: float,
    grad: str,
    impl: str,
    units: Sequence[float] = (),
):
    entry = dispatch.choose(NAME, impl, q, k, v, normalizer, product, scale)
    if os.environ.get(CHECK) == '1':
        check_spikes('q', q, product)
        check_spikes('k', k, product)
    results = _fake_forward(q, k, v, product, normalizer)
    if q.numel() == 0 or v.numel() == 0:  # no query, no head or no value: nothing to compute
        return tuple(x.zero_() for x in results)
    if entry.name not in BYTES_FORWARD:
        q, k = _cast(q, v.dtype), _cast(k, v.dtype)
    heads = [as_heads(x) for x in (q, k, v, results[0])]
    entry.forward(*heads, *_rows(results[1:], heads[0]), product, normalizer, scale)
    return results


@without_autocast
def _backward(
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
    impl: str,
):
    entry = dispatch.choose(NAME, impl, q, k, v, normalizer, product, scale)
    results = _fake_backward(grad_out, q, k, v)
    if q.numel() == 0 or v.numel() == 0:
        return tuple(x.zero_() for x in results)
    if entry.name not in BYTES_BACKWARD:
        q, k = _cast(q, v.dtype), _cast(k, v.dtype)
    heads = [as_heads(x) for x in (grad_out, q, k, v, out)]
    grads = entry.backward(
        *heads, *_rows((g, weight_sum), heads[1]), product, normalizer, scale, grad
    )
    grads = [x.view(like.shape) for x, like in zip(grads, results)]
    return tuple(
        x if x.stride() == like.stride() else like.copy_(x) for x, like in zip(grads, results)
    )


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def _rows(stats: Sequence[Tensor], q: Tensor) -> list[Tensor]:
    """Numbers per query as contiguous (B, H, n_q), or empty: views of contiguous ones."""
    return [x.reshape(q.shape[:-1]).contiguous() if x.numel() else x for x in stats]


def _fake_forward(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, *_):
    rows, stats = q.shape[:-1], working_dtype(v.dtype)
    return (
        v.new_empty((*rows, v.shape[-1])),
        v.new_empty((0,) if normalizer == 'none' else rows, dtype=stats),
        v.new_empty(rows if normalizer == 'shiftmax' else (0,), dtype=stats),
    )


def _fake_backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_):
    """Gradients lie in memory as their operands do."""
    return tuple(torch.empty_like(x, dtype=v.dtype) for x in (q, k, v))


def _setup_context(ctx, inputs, output) -> None:
    operands, product, normalizer = inputs[:3], inputs[3], inputs[4]
    ctx.options, units = inputs[3:8], inputs[8] if len(inputs) > 8 and inputs[8] else [0.0] * 3
    out, g, weight_sum = output
    ctx.mark_non_differentiable(g, weight_sum)
    # Until the backward a spike takes a byte instead of two or four.
    ctx.dtype = operands[2].dtype
    ctx.units = [1.0, 1.0, units[2]] if product != 'real' else units
    kept = [to_bytes(x, unit) if unit else x for x, unit in zip(operands, ctx.units)]
    ctx.save_for_backward(*kept, *([] if normalizer == 'none' else [out]), g, weight_sum)


def _autograd_backward(ctx, grad_out: Tensor, *unused):
    q, k, v, *out, g, weight_sum = ctx.saved_tensors
    q, k = (
        x if unit in (0, 1) else from_bytes(x, unit, ctx.dtype)
        for x, unit in zip((q, k), ctx.units)
    )
    v = from_bytes(v, ctx.units[2], ctx.dtype) if ctx.units[2] else v
    out = out[0] if out else grad_out  # its values play no role without a normaliser
    grads = _BACKWARD(grad_out, q, k, v, out, g, weight_sum, *ctx.options)
    return *grads, *[None] * 6


def _vmap_forward(
    info, in_dims, q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, *rest
):
    results = _OP.registered(*batch_first(info, in_dims, q, k, v), product, normalizer, *rest)
    g_dim, sum_dim = None if normalizer == 'none' else 0, 0 if normalizer == 'shiftmax' else None
    return results, (0, g_dim, sum_dim)


def _vmap_backward(info, in_dims, *args):
    return _BACKWARD.registered(*batch_first(info, in_dims, *args[:7]), *args[7:]), (0, 0, 0)


_OPTIONS = 'str product, str normalizer, float scale, str grad, str impl'
_OP = Op(
    f'bipolar_attention(Tensor q, Tensor k, Tensor v, {_OPTIONS}, float[] units=[]) '
    '-> (Tensor out, Tensor g, Tensor weight_sum)',
    _forward,
    _fake_forward,
    _vmap_forward,
    _autograd_backward,
    _setup_context,
)
_BACKWARD = Op(
    'bipolar_attention_bwd(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, '
    f'Tensor g, Tensor weight_sum, {_OPTIONS}) -> (Tensor, Tensor, Tensor)',
    _backward,
    _fake_backward,
    _vmap_backward,
)
