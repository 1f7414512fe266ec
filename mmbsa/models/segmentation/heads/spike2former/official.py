"""Memory that the official code of Spike2Former reads in another order than it was written
(``official_quirks``)."""

from torch import Tensor


def misread_map(x: Tensor) -> Tensor:
    """(T, B, C, H, W) -> the same shape: what was written as (C, H, W) is read as (H, W, C)."""
    steps, batch, channels, height, width = x.shape
    return x.contiguous().view(steps, batch, height, width, channels).permute(0, 1, 4, 2, 3)


def misread_tokens(x: Tensor) -> Tensor:
    """(T, B, C, Q, 1) -> the same shape: what was written as (Q, C) is read as (C, Q)."""
    steps, batch, channels, tokens, _ = x.shape
    return x.permute(0, 1, 3, 4, 2).contiguous().view(steps, batch, channels, tokens, 1)


def reread_tokens(x: Tensor) -> Tensor:
    """The inverse of :func:`misread_tokens`."""
    steps, batch, channels, tokens, _ = x.shape
    return x.contiguous().view(steps, batch, tokens, 1, channels).permute(0, 1, 4, 2, 3)
