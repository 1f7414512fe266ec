"""The public bipolar attention, its registration with ``torch.library``, and its validation."""
import torch
from torch import Tensor

from mmbsa.ops import dispatch, kernels
from mmbsa.ops.bipolar_attention import fused, native, reference, sdpa, tiled
from mmbsa.ops.bipolar_attention.common import GRADS, NORMALIZERS, PRODUCTS, as_heads
from mmbsa.ops.registration import Op, without_autocast, working_dtype

NAME = 'bipolar_attention'
#: Our own kernels: they read any strides and spikes as bytes, and lay gradients out as their operands.
STRIDED = ('triton', 'native')
#: Those whose backward takes spikes as the bytes that they are kept as.
BYTES_BACK = ('native',)

dispatch.register(NAME, dispatch.Implementation('triton', fused.forward, fused.backward, missing=kernels.missing,
                                                refuses=fused.refuses, slower=fused.slower))
dispatch.register(NAME, dispatch.Implementation('native', native.forward, native.backward, missing=native.missing,
                                                refuses=native.refuses))
dispatch.register(NAME, dispatch.Implementation('sdpa', sdpa.forward, sdpa.backward, refuses=sdpa.refuses,
                                                slower=sdpa.slower))
dispatch.register(NAME, dispatch.Implementation('tiled', tiled.forward, tiled.backward, refuses=tiled.refuses))
dispatch.register(NAME, dispatch.Implementation('reference', reference.forward, reference.backward))


def bipolar_attention(q: Tensor, k: Tensor, v: Tensor, *, product: str = 'ternary', normalizer: str = 'shiftmax',
                      scale: float = 1., grad: str = 'ste', impl: str = 'auto') -> Tensor:
    """Score = normalizer(scale * q k^T), out = Score v (BSA paper, eqs. 16-18): BMP, TMP and RMP with every normaliser.

    q and k are given fired. With ``normalizer='shiftmax'`` each weight is 2^(score - g), and g = ceil(log2 sum 2^score)
    is what exact integer arithmetic gives, in every implementation, for integer scores below 2^24 (2^53 in float64).

    Args:
        q: (..., n_q, d), any real dtype (int8 too); cast to v's dtype.
        k: (..., n_k, d), likewise.
        v: (..., n_k, d_v) float16, bfloat16, float32 or float64; the leading dimensions of all three are equal. Under
            autocast a float32 v takes autocast's dtype, as in ``scaled_dot_product_attention``.
        product: What q and k hold: ``'ternary'`` {-1, 0, 1} (TMP, the paper's), ``'binary'`` {0, 1} (BMP), ``'real'``
            anything (RMP). An implementation may rely on it; nobody checks, and operands outside their product are the
            caller's mistake: the backward keeps spikes as bytes, and kernels write 2^score as bits. Neurons that count
            are ``'real'`` (whole scores get an exact g all the same).
        normalizer: ``'shiftmax'``, ``'softmax'`` (base e), or ``'none'`` (spiking self-attention, in linear time).
        scale: Factor of the scores. BSA has none; vanilla attention has d^-0.5.
        grad: Shiftmax's gradient, ``'ste'`` or ``'detach'``, see :func:`mmbsa.ops.shiftmax`. The others ignore it.
        impl: ``'auto'`` or one of ``implementations('bipolar_attention')``.

    Returns:
        (..., n_q, d_v) in v's dtype, contiguous.

    Raises:
        ValueError: a shape, dtype, device or option does not fit; the message names the argument.
        RuntimeError: the implementation asked for cannot take this call; with the reason.
    """
    _check(q, k, v, product, normalizer, grad)
    dtype = v.dtype
    if dtype == torch.float32 and torch.is_autocast_enabled(v.device.type):
        dtype = torch.get_autocast_dtype(v.device.type)
        v = v.to(dtype)
    impl = dispatch.resolve(NAME, impl, q, k, v, normalizer, product, scale)
    strided = _as_operands(normalizer, impl)
    if not (strided and product != 'real' and q.dtype == k.dtype == torch.int8):  # bytes are what its products take
        q, k = _cast(q, dtype), _cast(k, dtype)
    if normalizer != 'none' and not strided:  # what is copied here need not be copied again in the backward
        q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    return _OP(q, k, v, product, normalizer, float(scale), grad, impl)[0]


def _check(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, grad: str) -> None:
    for name, value, choices in (('product', product, PRODUCTS), ('normalizer', normalizer, NORMALIZERS),
                                 ('grad', grad, GRADS)):
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
            raise ValueError(f'{NAME}: {name} must lead with {tuple(v.shape[:-2])} as v does, got {tuple(x.shape)}')
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(f'{NAME}: q and k need one last dimension d > 0, got {tuple(q.shape)} and {tuple(k.shape)}')
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f'{NAME}: k and v must have as many tokens, got {tuple(k.shape)} and {tuple(v.shape)}')
    if k.shape[-2] == 0:
        raise ValueError(f'{NAME}: k must have at least one token, got shape {tuple(k.shape)}')


@without_autocast
def _forward(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, scale: float, grad: str, impl: str):
    if q.numel() == 0 or v.numel() == 0:  # no query, no head or no value: nothing to compute
        return tuple(x.zero_() for x in _fake_forward(q, k, v, product, normalizer, scale, grad, impl))
    entry = dispatch.get(NAME, impl)
    out, g, mass = entry.forward(as_heads(q), as_heads(k), as_heads(v), product, normalizer, scale)
    rows = q.shape[:-1]
    return (out.view(*rows, v.shape[-1]), *(x.view(rows) if x.dim() > 1 else x for x in (g, mass)))


@without_autocast
def _backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, g: Tensor, mass: Tensor, product: str,
              normalizer: str, scale: float, grad: str, impl: str):
    if q.numel() == 0 or v.numel() == 0:
        return tuple(_empty_grad(x, normalizer, impl, v.dtype).zero_() for x in (q, k, v))
    spikes = (q, k) if impl in BYTES_BACK else (_cast(q, v.dtype), _cast(k, v.dtype))
    heads = [as_heads(x) for x in (grad_out, *spikes, v, out)]
    rows = [x.view(heads[1].shape[:-1]) if x.dim() and x.numel() else x for x in (g, mass)]
    entry = dispatch.get(NAME, impl)
    grads = entry.backward(*heads, *rows, product, normalizer, scale, grad)
    if _as_operands(normalizer, impl):
        return tuple(_laid_out(x.view(like.shape), _empty_grad(like, normalizer, impl, v.dtype, 'meta'))
                     for x, like in zip(grads, (q, k, v)))
    if _tokens_first(q, normalizer, impl):
        grads = (x.transpose(1, 2).contiguous() for x in grads)
        return tuple(x.view(*like.shape[:-3], *x.shape[1:]).transpose(-2, -3) for x, like in zip(grads, (q, k, v)))
    return tuple(x.contiguous().view(like.shape) for x, like in zip(grads, (q, k, v)))


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def _tokens_first(x: Tensor, normalizer: str, impl: str) -> bool:
    """Whether gradients lie (..., n, H, d) in memory: PyTorch's kernels write them so, and a copy would cost a pass."""
    return impl == 'sdpa' and normalizer != 'none' and x.dim() > 2


def _as_operands(normalizer: str, impl: str) -> bool:
    """Whether gradients lie in memory as their operands do: our kernels write any layout, so the caller's is kept."""
    return impl in STRIDED and normalizer != 'none'


def _laid_out(x: Tensor, like: Tensor) -> Tensor:
    """x in the layout of ``like``, copied only where heads could not be folded without a copy."""
    return x if x.stride() == like.stride() else torch.empty_like(like, device=x.device).copy_(x)


def _empty_grad(x: Tensor, normalizer: str, impl: str, dtype: torch.dtype, device=None) -> Tensor:
    """Room for the gradient of x, in the layout that the implementation's backward hands out."""
    if _as_operands(normalizer, impl):
        return torch.empty_like(x, dtype=dtype, device=device)
    if not _tokens_first(x, normalizer, impl):
        return x.new_empty(x.shape, dtype=dtype, device=device)
    *lead, heads, n, d = x.shape
    return x.new_empty(*lead, n, heads, d, dtype=dtype, device=device).transpose(-2, -3)


def _fake_forward(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, scale: float, grad: str, impl: str):
    rows, stats = q.shape[:-1], working_dtype(v.dtype)
    return (v.new_empty((*rows, v.shape[-1])),
            v.new_empty((0,) if normalizer == 'none' else rows, dtype=stats),
            v.new_empty(rows if normalizer == 'shiftmax' else (0,), dtype=stats))


def _fake_backward(grad_out, q, k, v, out, g, mass, product, normalizer, scale, grad, impl):
    return tuple(_empty_grad(x, normalizer, impl, v.dtype) for x in (q, k, v))


def _setup_context(ctx, inputs, output) -> None:
    q, k, v, *ctx.options = inputs
    product = ctx.options[0]
    out, g, mass = output
    ctx.mark_non_differentiable(g, mass)
    if product != 'real':  # a spike fits a byte: a quarter of what it would hold until the backward, or half in 16 bits
        q, k = _cast(q, torch.int8), _cast(k, torch.int8)
    ctx.save_for_backward(q, k, v, out, g, mass)


def _autograd_backward(ctx, grad_out: Tensor, *unused):
    q, k, v, out, g, mass = ctx.saved_tensors
    grads = _BACKWARD(grad_out, q, k, v, out, g, mass, *ctx.options)
    return *grads, None, None, None, None, None


_OP = Op('bipolar_attention(Tensor q, Tensor k, Tensor v, str product, str normalizer, float scale, str grad, str impl) '
         '-> (Tensor out, Tensor g, Tensor mass)', _forward, _fake_forward, _autograd_backward, _setup_context)
_BACKWARD = Op('bipolar_attention_bwd(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor g, Tensor mass, '
               'str product, str normalizer, float scale, str grad, str impl) -> (Tensor, Tensor, Tensor)', _backward,
               _fake_backward)
