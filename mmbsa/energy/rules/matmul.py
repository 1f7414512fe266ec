"""Rules of matrix products: linear layers, attention with matmul, scaled dot-product attention."""

import math

from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.counts import Counts
from mmbsa.energy.rules.convolution import add_input, layer
from mmbsa.energy.rules.registry import Call, aten, rule
from mmbsa.energy.tags import Tag


@rule('aten::mm', 'aten::bmm', 'aten::mv', 'aten::dot', 'aten::vdot')
def matmul(call: Call) -> None:
    """Count a product of two operands of 1 to 3 dimensions."""
    args = list(call.args.values())
    product(call, args[0], args[1])


@rule('aten::addmm', 'aten::baddbmm', 'aten::addmv', 'aten::addbmm')
def add_matmul(call: Call) -> None:
    """Count a product and a summand.

    A summand that is a weight is a bias; any other summand is added element by element.
    """
    args = list(call.args.values())
    counts = product(call, args[1], args[2])
    if counts is not None:
        if call.tag(args[0]).weight:
            counts.bias_adds += call.out.numel()
        elif call.args.get('beta', 1) != 0:
            counts.ac += call.out.numel()
            counts.ac_events += call.out.numel()


@rule('aten::linear', 'aten::mkldnn_linear', 'aten::_mkl_linear')
def linear(call: Call) -> None:
    """Count a fused linear layer with the weight (out, in)."""
    x, weight, bias = (list(call.args.values()) + [None])[:3]
    counts = product(call, x, weight.t())
    if counts is not None and bias is not None:
        counts.bias_adds += call.out.numel()


def product(call: Call, a: Tensor, b: Tensor) -> Counts | None:
    """Add the counts of a (*, n, k) times b (*, k, m), of which any may hold spikes.

    Args:
        call: call of the op.
        a: left operand (*, n, k).
        b: right operand (*, k, m).

    Returns:
        The counts of the row, or None if nothing is counted.
    """
    if call.weights_only():
        call.put(Tag(origin='weights', weight=True))
        return None
    ta, tb = call.tag(a), call.tag(b)
    dense = a.numel() * (b.shape[-1] if b.dim() > 1 else 1)
    if tb.weight or ta.weight:
        x, weight = (a, b) if tb.weight else (b, a)
        fan_out = dense // max(x.numel(), 1)
        counts, _ = call.row('linear', ('activation', x), ('weight', weight))
        batch = call.counter.images  # rows are samples, tokens and steps: only the tag has T
        layer(call, counts, x, weight, dense, dense, batch, (), fan_out)
        call.put_real()
        return counts
    counts, _ = call.row('matmul', ('left', a), ('right', b))
    counts.dense += dense
    counts.valid += dense
    counts.outputs += call.out.numel()
    add_input(call, counts, a)
    add_input(call, counts, b)
    counts.out_bits += call.out.numel() * 8 * call.out.element_size()
    events, accumulates = meeting(call, a, b)
    counts.events += dense if events is None else events
    if events is None:
        counts.mac += dense
        counts.mac_valid += dense
        counts.mac_nonzero += dense
        counts.mac_repeated += dense
    else:
        counts.ac += accumulates
        counts.ac_events += events
        for tag in (ta, tb):
            if tag.bits is not None:
                counts.ac_dense += tag.bits * dense
                break
    if ta.sparse and tb.sparse:
        call.put(
            Tag(
                origin=f'product of spikes{call.counter.where()}',
                exact=True,
                steps=max(ta.steps, tb.steps),
            )
        )
    else:
        call.put_real()
    return counts


def meeting(call: Call, a: Tensor, b: Tensor) -> tuple[int | None, int]:
    """Return events and accumulates of the product a b.

    If both operands hold spikes, these are their coincidences; if one does, its events times the
    fan-out. Counts multiply: k spikes with j spikes are k j accumulates. A sum of spikes (a score)
    is added as one number. Bit by bit, the left operand counts its one-bits, and the right one is a
    word. Events are None if neither operand has events.
    """
    ta, tb = call.tag(a), call.tag(b)
    a, b = (a.unsqueeze(0) if a.dim() == 1 else a), (b.unsqueeze(-1) if b.dim() == 1 else b)
    if ta.domain is None and tb.domain is None:
        return None, 0
    if not tb.sparse:
        m = b.shape[-1]
        return call.total(a, 'events') * m, call.total(a, _measure(ta, True)) * m
    if not ta.sparse:
        n = a.shape[-2]
        return call.total(b, 'events') * n, call.total(b, _measure(tb, True)) * n
    events, accumulates = (
        int((sums.per_channel(a, ta, first, -2) * sums.per_channel(b, tb, second, -1)).sum().item())
        for first, second in (
            ('events', 'events'),
            (_measure(ta, True), _measure(tb, ta.bits is None)),
        )
    )
    return events, accumulates


def _measure(tag: Tag, serial: bool) -> str:
    """Return which sum of an operand is accumulated."""
    if tag.bits is not None:
        return 'bits' if serial else 'events'
    return 'counts' if tag.domain is not None else 'events'


@rule(
    *aten(
        '_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention '
        '_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention '
        '_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math '
        '_scaled_dot_product_attention_math_for_mps'
    )
)
def dot_product_attention(call: Call) -> None:
    """Count softmax attention of (*, n, d) operands; a causal mask does not reduce the counts."""
    softmax_attention(call, call.args['query'], call.args['key'], call.args['value'])
    call.put_real()


def softmax_attention(call: Call, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Count two products with a softmax of every row between them.

    Args:
        call: call of the op.
        q: queries (*, n_q, d).
        k: keys (*, n, d).
        v: values (*, n, d_v).
    """
    rows, keys = math.prod(q.shape[:-1]), k.shape[-2]
    counts, detail = call.row('attention', ('query', q), ('key', k), ('value', v))
    dense_qk, dense_sv = rows * keys * q.shape[-1], rows * keys * v.shape[-1]
    qk, qk_counts = meeting(call, q, k.transpose(-2, -1))
    for x in (q, k, v):
        add_input(call, counts, x)
    if qk is None:
        counts.mac += dense_qk
    else:
        counts.ac, counts.ac_events = counts.ac + qk_counts, counts.ac_events + qk
    tag = call.tag(v)
    if tag.domain is not None:
        sv, sv_counts = (
            call.total(v, what) * q.shape[-2] for what in ('events', _measure(tag, True))
        )
        counts.ac, counts.ac_events = counts.ac + sv_counts, counts.ac_events + sv
    else:
        sv = dense_sv
        counts.mac += dense_sv
    counts.mac_valid = counts.mac_nonzero = counts.mac_repeated = counts.mac
    counts.dense += dense_qk + dense_sv
    counts.valid += dense_qk + dense_sv
    counts.events += (dense_qk if qk is None else qk) + sv
    counts.outputs += call.out.numel()
    counts.out_bits += call.out.numel() * 8 * call.out.element_size()
    softmax(counts, rows, keys)
    detail.update(
        normalizer='softmax',
        dense_qk=detail.get('dense_qk', 0) + dense_qk,
        dense_sv=detail.get('dense_sv', 0) + dense_sv,
    )


def softmax(counts: Counts, rows: int, length: int) -> None:
    """Count exponentials and divisions, a maximum and a sum per row.

    Args:
        counts: counts to add to.
        rows: number of rows.
        length: number of elements per row.
    """
    counts.specials += 2 * rows * length
    counts.comparisons += rows * (length - 1)
    counts.ac += rows * (length - 1)
    counts.ac_events += rows * (length - 1)
