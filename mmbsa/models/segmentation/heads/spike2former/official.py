"""Functions that read memory in another order than it was written, as the official code of
Spike2Former (``official_quirks``)."""

from torch import Tensor


def misread_map(x: Tensor) -> Tensor:
    """Reinterpret the memory (C, H, W) of ``x`` (T, B, C, H, W) as (H, W, C); the result has the
    same shape."""
    steps, batch, channels, height, width = x.shape
    return x.contiguous().view(steps, batch, height, width, channels).permute(0, 1, 4, 2, 3)


def misread_tokens(x: Tensor) -> Tensor:
    """Reinterpret the memory (Q, C) of ``x`` (T, B, C, Q, 1) as (C, Q); the result has the same
    shape."""
    steps, batch, channels, tokens, _ = x.shape
    return x.permute(0, 1, 3, 4, 2).contiguous().view(steps, batch, channels, tokens, 1)


def reread_tokens(x: Tensor) -> Tensor:
    """Return the inverse of :func:`misread_tokens` for ``x`` (T, B, C, Q, 1)."""
    steps, batch, channels, tokens, _ = x.shape
    return x.contiguous().view(steps, batch, tokens, 1, channels).permute(0, 1, 4, 2, 3)
