"""Marks on spike tensors, with which layers keep spikes for the backward pass as bytes.

A mark is the attribute ``_mmbsa_spikes`` of the tensor that a neuron returns. It holds the neuron's
domain; layers copy it to the views that they make by :func:`carry`. If the mark is lost (another
operation, a module of a library), the layer keeps the tensor itself: the results are the same, but
more memory is used. ``MMBSA_SPIKE_BYTES=0`` in the environment keeps all tensors themselves, which
second derivatives need.
"""

import os

import torch
from torch import Tensor

from mmbsa.ops.bytes import fits, to_bytes
from mmbsa.spiking.domain import SpikeDomain

#: environment variable; '0' keeps spikes in their own dtype for the backward pass.
BYTES_ENV = 'MMBSA_SPIKE_BYTES'


@torch.compiler.assume_constant_result
def wanted() -> bool:
    """Return whether layers keep spikes as bytes: True unless ``MMBSA_SPIKE_BYTES=0``."""
    return os.environ.get(BYTES_ENV) != '0'


def may_be_marked(x: Tensor, domain: SpikeDomain | None) -> bool:
    """Return whether :func:`mark` marks spikes of a domain with the dtype of ``x``; it does not if
    no layer would keep their values, for example without gradients."""
    return (
        domain is not None
        and torch.is_grad_enabled()
        and x.is_floating_point()
        and not torch.compiler.is_exporting()
        and wanted()
        and fits(domain.low, domain.high, domain.unit)
        and (torch.compiler.is_compiling() or not x.is_inference())
    )


def mark(x: Tensor, domain: SpikeDomain | None, kept: Tensor | None = None) -> Tensor:
    """Return ``x`` with a mark that it holds spikes of a domain.

    Args:
        x: a spike tensor of any shape; a mark that it has is not changed.
        domain: the values that ``x`` holds; None (real-valued) sets no mark.
        kept: counts of ``x`` as int8, dense and in the memory layout of ``x``, which is not a view;
            None (default) means that the first layer that needs them computes them.

    Returns:
        ``x`` itself, or a view of it during compilation. It has no mark if
        :func:`may_be_marked` is False.
    """
    if not may_be_marked(x, domain) or marked(x) == domain:
        return x
    eager = not torch.compiler.is_compiling()
    if not eager:  # Dynamo sets no attribute of a result that comes in a tuple
        x = x.view_as(x)
    # An in-place change of x makes the mark invalid, so the version is stored. The dict holds the
    # bytes of x and of its views: q, k and v share them.
    found: tuple = (domain, x._version, {}, kept) if eager else (domain, None, None, None)
    x._mmbsa_spikes = found  # type: ignore[attr-defined]
    return x


def carry(view: Tensor, x: Tensor) -> Tensor:
    """Copy the mark of ``x`` to ``view`` and return ``view``.

    Args:
        view: a view of ``x``, or a tensor with the values of ``x`` in another layout.
        x: the tensor that may have a mark; without a mark ``view`` is returned unchanged.
    """
    domain = marked(x)
    if domain is None or view is x:
        return view
    if torch.compiler.is_compiling() or view._base is not (x if x._base is None else x._base):
        return mark(view, domain)  # it has its own memory
    view._mmbsa_spikes = x._mmbsa_spikes  # type: ignore[attr-defined]
    return view


def marked(x: Tensor) -> SpikeDomain | None:
    """Return the domain of a tensor ``x`` with a valid mark; None if ``x`` has no mark or was
    changed since."""
    found = getattr(x, '_mmbsa_spikes', None)
    if found is None or not torch.compiler.is_compiling() and found[1] != x._version:
        return None
    return found[0]


def bytes_of(x: Tensor) -> tuple[Tensor, float] | None:
    """Return the counts of a marked tensor as int8 in the layout of ``x``, and the value of one
    spike; None for a tensor without a mark."""
    domain = marked(x)
    if domain is None:
        return None
    if torch.compiler.is_compiling():  # the compiler removes equal operations itself
        return to_bytes(x.detach(), domain.unit), domain.unit
    _, _, kept, counts = x._mmbsa_spikes  # type: ignore[attr-defined]
    place = x.shape, x.stride(), x.storage_offset()
    if place not in kept:
        kept[place] = (
            to_bytes(x.detach(), domain.unit) if counts is None else counts.as_strided(*place)
        )
    return kept[place], domain.unit


def add(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a + b``, with a mark if both tensors hold spikes of the same unit."""
    out, first, second = a + b, marked(a), marked(b)
    if first is None or second is None or first.unit != second.unit:
        return out
    return mark(out, SpikeDomain(first.low + second.low, first.high + second.high, first.unit))
