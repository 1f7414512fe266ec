"""The public function of bipolar attention, its registration with ``torch.library``, and the checks
of its arguments."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from mmbsa.ops import dispatch, triton_support
from mmbsa.ops.bipolar_attention import launch, native, reference, sdpa
from mmbsa.ops.bipolar_attention.common import GRADS, NORMALIZERS, PRODUCTS, as_heads
from mmbsa.ops.bytes import from_bytes, is_power_of_two, to_bytes
from mmbsa.ops.registration import CustomOp, batch_first, without_autocast, working_dtype

NAME = 'bipolar_attention'
#: Environment variable: with 1 every call checks the values of q and k, which costs one more read
#: of both.
CHECK = 'MMBSA_CHECK_SPIKES'
#: Implementations whose forward and whose backward accept spikes as bytes; the others get spikes in
#: the dtype of v.
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
    """Compute normalizer(scale * q k^T) v for spikes or real numbers (BSA paper, eqs. 16-18).

    q and k are the outputs of their neurons. With ``normalizer='shiftmax'`` each weight is 2^(score
    - g) with g = ceil(log2 sum 2^score). For integer scores below 2^24 (2^53 in float64) every
    implementation gives the g of exact integer arithmetic.

    Args:
        q: queries (..., n_q, d), of any real dtype (int8 too); cast to the dtype of v.
        k: keys (..., n_k, d), of any real dtype (int8 too); cast to the dtype of v.
        v: values (..., n_k, d_v), float16, bfloat16, float32 or float64. The leading dimensions of
            q, k and v are equal. Under autocast a float32 v is cast to the dtype of autocast, as in
            ``scaled_dot_product_attention``.
        product: values of q and k: ``'ternary'`` {-1, 0, 1} (TMP, default, as in the paper),
            ``'binary'`` {0, 1} (BMP), ``'real'`` any number (RMP). Other values of q and k than
            ``product`` allows give wrong results, because the backward keeps spikes as bytes and
            kernels write 2^score as bits. The environment variable ``MMBSA_CHECK_SPIKES=1`` makes
            every call check the values. Integer neurons need ``'real'``; integer scores get an
            exact g there too.
        normalizer: ``'shiftmax'`` (default), ``'softmax'`` (base e), or ``'none'`` (spiking
            self-attention, in linear time).
        scale: factor on the scores; default 1, as in BSA. Softmax attention uses d^-0.5.
        grad: gradient rule of Shiftmax, ``'ste'`` (default) or ``'detach'``, see
            :func:`mmbsa.ops.shiftmax`. It has no effect with the other normalisers.
        impl: ``'auto'`` (default) or one of ``implementations('bipolar_attention')``.
        units: the value of one spike of q, k and v, three powers of two; 0 for a real-valued
            tensor. The backward may keep an operand with a unit as bytes; its values must be counts
            in -128 .. 127 times the unit. Empty (default) means 1 for q and k of a ternary or
            binary product, and 0 otherwise.

    Returns:
        The output (..., n_q, d_v) in the dtype of v, contiguous.

    Raises:
        ValueError: a shape, dtype, device or option is not valid, or the check found a value of q
            or k that ``product`` does not allow; the message names the argument.
        RuntimeError: the implementation ``impl`` does not support this call; the message gives the
            reason.
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
                f'{NAME}: {name} must have the leading dimensions {tuple(v.shape[:-2])} of v, got '
                f'{tuple(x.shape)}'
            )
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(
            f'{NAME}: q and k must have the same last dimension d > 0, got {tuple(q.shape)} and '
            f'{tuple(k.shape)}'
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f'{NAME}: k and v must have the same number of tokens, got {tuple(k.shape)} and '
            f'{tuple(v.shape)}'
        )
    if k.shape[-2] == 0:
        raise ValueError(f'{NAME}: k must have at least one token, got shape {tuple(k.shape)}')


def check_spikes(name: str, x: Tensor, product: str) -> None:
    """Raise a ValueError if a value of ``x`` is not in {-1, 0, 1} (ternary product) or {0, 1}
    (binary product).

    Args:
        name: name of the tensor, for the message.
        x: a tensor of any shape.
        product: ``'ternary'`` or ``'binary'``; ``'real'`` allows every value.
    """
    allowed = dict(ternary=(-1, 0, 1), binary=(0, 1)).get(product)
    if allowed is None:
        return
    wrong = (x != 0) & (x != 1) & (x != allowed[0])
    if bool(wrong.any()):
        raise ValueError(
            f'{NAME}: {name} holds {float(x[wrong][0]):g}, but product={product!r} '
            f'allows only the values {allowed}; neurons that emit other values need '
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
    """Return the statistics of each query as contiguous views (B, H, n_q), or as empty tensors."""
    return [x.reshape(q.shape[:-1]).contiguous() if x.numel() else x for x in stats]


def _fake_forward(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, *_):
    rows, stats = q.shape[:-1], working_dtype(v.dtype)
    return (
        v.new_empty((*rows, v.shape[-1])),
        v.new_empty((0,) if normalizer == 'none' else rows, dtype=stats),
        v.new_empty(rows if normalizer == 'shiftmax' else (0,), dtype=stats),
    )


def _fake_backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_):
    """Return empty gradients with the memory layout of their operands."""
    return tuple(torch.empty_like(x, dtype=v.dtype) for x in (q, k, v))


def _setup_context(ctx, inputs, output) -> None:
    operands, product, normalizer = inputs[:3], inputs[3], inputs[4]
    ctx.options, units = inputs[3:8], inputs[8] if len(inputs) > 8 and inputs[8] else [0.0] * 3
    out, g, weight_sum = output
    ctx.mark_non_differentiable(g, weight_sum)
    # Between forward and backward a spike takes one byte instead of two or four.
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
    out = out[0] if out else grad_out  # its values are not used without a normaliser
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
_OP = CustomOp(
    f'bipolar_attention(Tensor q, Tensor k, Tensor v, {_OPTIONS}, float[] units=[]) '
    '-> (Tensor out, Tensor g, Tensor weight_sum)',
    _forward,
    _fake_forward,
    _vmap_forward,
    _autograd_backward,
    _setup_context,
)
_BACKWARD = CustomOp(
    'bipolar_attention_bwd(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, '
    f'Tensor g, Tensor weight_sum, {_OPTIONS}) -> (Tensor, Tensor, Tensor)',
    _backward,
    _fake_backward,
    _vmap_backward,
)
