"""Rules of bipolar attention and Shiftmax: the cost of the definition, for every implementation."""

import math

import torch
from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.counts import Counts
from mmbsa.energy.rules.convolution import add_input
from mmbsa.energy.rules.matmul import meeting, softmax_attention
from mmbsa.energy.rules.registry import Call, rule
from mmbsa.energy.tags import Tag
from mmbsa.spiking import BINARY, TERNARY

#: domain of q and k that the op's ``product`` declares, if no neuron of this package emitted them.
DECLARED = dict(binary=BINARY, ternary=TERNARY)
#: largest number of elements of a score map that is processed at once.
MAP_CHUNK = 1 << 20


@rule('mmbsa::bipolar_attention')
def bipolar_attention(call: Call) -> None:
    """Count the scores of q and k, a normaliser, and the weighted sum of v (energy.md, rule 7)."""
    q, k, v, normalizer = (call.args[key] for key in ('q', 'k', 'v', 'normalizer'))
    domain = DECLARED.get(call.args['product'])
    for x in (q, k):
        if domain is not None and call.tag(x).domain is None:
            call.put(Tag(domain, f"product='{call.args['product']}'", steps=call.tag(x).steps), x)
    if normalizer == 'softmax':
        softmax_attention(call, q, k, v)
        return call.put_real()
    counts, detail = call.row('attention', ('query', q), ('key', k), ('value', v))
    for x in (q, k, v):
        add_input(call, counts, x)
    counts.outputs += call.out.numel()
    counts.out_bits += call.out.numel() * 8 * call.out.element_size()
    if normalizer == 'none':
        _unnormalised(call, counts, detail, q, k, v)
    else:
        _shifted(call, counts, detail, q, k, v)


def _shifted(call: Call, counts: Counts, detail: dict, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Count Shiftmax attention.

    A row of m scores needs m - 1 comparisons and m powers. Each (query, key, value channel) needs a
    shift and an addition.
    """
    rows, keys, width = math.prod(q.shape[:-1]), k.shape[-2], v.shape[-1]
    dense_qk, dense_sv, values = rows * keys * q.shape[-1], rows * keys * width, call.tag(v)
    events, accumulates = meeting(call, q, k.transpose(-2, -1))
    if events is None:
        counts.mac += dense_qk
        counts.mac_valid += dense_qk
        counts.mac_nonzero += dense_qk
        counts.mac_repeated += dense_qk
        events = dense_qk
    else:
        counts.ac += accumulates
        counts.ac_events += events
        _add(
            detail,
            coincidences=events,
            q_gated=call.total(q, 'events') * keys,
            k_gated=call.total(k, 'events') * q.shape[-2],
        )
    shifts = call.total(v, 'events') * q.shape[-2] if values.domain is not None else dense_sv
    counts.shifts += shifts
    counts.ac += shifts
    counts.ac_events += shifts
    counts.comparisons += rows * (keys - 1)
    counts.specials += rows * keys
    counts.dense += dense_qk + dense_sv
    counts.valid += dense_qk + dense_sv
    counts.events += events + shifts
    detail['normalizer'] = 'shiftmax'
    _add(
        detail,
        dense_qk=dense_qk,
        dense_sv=dense_sv,
        shifts=shifts,
        adds=shifts,
        compares=rows * (keys - 1),
        powers=rows * keys,
    )
    bits = call.counter.fixed_point_bits
    if bits is not None:
        _add(detail, shifts_below_bits=_short_shifts(call, q, k, bits) * width)
        detail['g'] = detail.get('g', []) + [int(g) for g in call.result[1].flatten().tolist()]
    call.put_real('of shifted values')


def _short_shifts(call: Call, q: Tensor, k: Tensor, bits: int) -> int:
    """Return the number of (query, key) pairs whose weight 2^-n has n < ``bits``.

    The other weights are 0 in fixed point of this width.
    """
    g, found = call.result[1], 0
    for part, exponents in zip(*_by_rows(q, k, g)):
        scores = part @ k.to(part.dtype).transpose(-2, -1) * call.args['scale']
        found += int((exponents.unsqueeze(-1) - scores < bits).sum())
    return found


def _by_rows(q: Tensor, k: Tensor, *others: Tensor) -> list[list[Tensor]]:
    """Return chunks of queries: q (float64) and the rows of other tensors."""
    length = max(1, MAP_CHUNK // max(1, math.prod(k.shape[:-1])))
    return [list(q.double().split(length, -2)), *(list(x.split(length, -1)) for x in others)]


def _unnormalised(
    call: Call, counts: Counts, detail: dict, q: Tensor, k: Tensor, v: Tensor
) -> None:
    """Count (q k^T) v or q (k^T v) without a normaliser.

    A score, or an entry of k^T v, is one number; it is added where the other operand has a spike.
    """
    rows, keys, dims, width = math.prod(q.shape[:-1]), k.shape[-2], q.shape[-1], v.shape[-1]
    dense = dict(quadratic=rows * keys * (dims + width), linear=(k.numel() + q.numel()) * width)
    taken = 'linear' if dense['linear'] < dense['quadratic'] else 'quadratic'
    order = taken if call.counter.attention_order == 'taken' else call.counter.attention_order
    tags = [call.tag(x) for x in (q, k, v)]
    detail.update(normalizer='none', order=order, taken=taken)
    counts.dense += dense[order]
    counts.valid += dense[order]
    if any(tag.domain is None for tag in tags):
        _partly_real(call, counts, order, q, k, v)
        return call.put_real()
    orders = ('quadratic', 'linear') if call.counter.both_orders else (order,)
    for name in orders:
        first, second, figures = (_quadratic if name == 'quadratic' else _linear)(call, q, k, v)
        part = detail.setdefault(name, {})
        _add(part, dense=dense[name], **figures)
        if name == order:
            counts.ac += first[1] + second[1]
            counts.ac_events += first[0] + second[0]
            counts.events += first[0] + second[0]
            if tags[0].bits is not None:
                counts.ac_dense += tags[0].bits * dense[order]
    call.put(
        Tag(origin=f'product of spikes{call.counter.where()}', exact=True, steps=tags[0].steps)
    )


def _quadratic(call: Call, q: Tensor, k: Tensor, v: Tensor) -> tuple[tuple, tuple, dict]:
    first = meeting(call, q, k.transpose(-2, -1))
    fired = {
        what: sums.per_channel(v, call.tag(v), what, -1) for what in ('events', _added(call, v))
    }
    totals = dict.fromkeys(fired, 0)
    for part in _by_rows(q, k)[0]:
        scores = (
            (part @ k.double().transpose(-2, -1)).ne(0).sum(-2)
        )  # (*, keys): scores that are not zero, per key
        for what, amount in fired.items():
            totals[what] += int((scores * amount).sum().item())
    second = totals['events'], totals[_added(call, v)]
    return first, second, dict(qk_coincidences=first[0], sv_events=second[0])


def _linear(call: Call, q: Tensor, k: Tensor, v: Tensor) -> tuple[tuple, tuple, dict]:
    first = meeting(call, k.transpose(-2, -1), v)
    entries = (
        (k.double().transpose(-2, -1) @ v.double()).ne(0).sum(-1)
    )  # (*, d): entries of k^T v that are not zero
    second = [
        int((sums.per_channel(q, call.tag(q), what, -2) * entries).sum().item())
        for what in ('events', _added(call, q))
    ]
    return first, tuple(second), dict(kv_coincidences=first[0], q_kv_events=second[0])


def _added(call: Call, x: Tensor) -> str:
    tag = call.tag(x)
    return 'bits' if tag.bits is not None else 'counts' if tag.domain is not None else 'events'


def _partly_real(call: Call, counts: Counts, order: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Count attention in which one of q, k and v is real-valued.

    A spike with a real number is an accumulate; two real numbers are a multiply-add.
    """
    first, second = (
        ((q, k.transpose(-2, -1)), v) if order == 'quadratic' else ((k.transpose(-2, -1), v), q)
    )
    dense = first[0].numel() * first[1].shape[-1]
    events, accumulates = meeting(call, *first)
    other = q.shape[-2] if order == 'quadratic' else v.shape[-1]
    tag = call.tag(second)
    both = [
        (events, accumulates, dense),
        (None, 0, second.numel() * other)
        if tag.domain is None
        else (
            call.total(second, 'events') * other,
            call.total(second, _added(call, second)) * other,
            0,
        ),
    ]
    for found, added, macs in both:
        if found is None:
            counts.mac += macs
            counts.mac_valid += macs
            counts.mac_nonzero += macs
            counts.mac_repeated += macs
        else:
            counts.ac += added
            counts.ac_events += found
        counts.events += macs if found is None else found


def _add(detail: dict, **figures: int) -> None:
    for name, value in figures.items():
        detail[name] = detail.get(name, 0) + value


@rule('mmbsa::shiftmax')
def shiftmax(call: Call) -> None:
    """Count m - 1 comparisons and m powers per row; the result holds powers of two."""
    x = call.args['x']
    length = x.shape[call.args.get('dim', -1)]
    counts, _ = call.row('elementwise', ('scores', x))
    counts.comparisons += x.numel() // length * (length - 1)
    counts.specials += x.numel()
    call.put_real('powers of two')


@rule(
    'mmbsa::bipolar_attention_bwd',
    'mmbsa::shiftmax_bwd',
    'mmbsa::lif_bwd',
    'mmbsa::integer_spike_bwd',
)
def gradients(call: Call) -> None:
    """Count the multiply-adds of the gradients, in training only."""
    counts, _ = call.row('backward', numbered=False)
    if 'q' in call.args:
        q, k, v = (call.args[key] for key in 'qkv')
        work = math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])
        if call.args['normalizer'] == 'none':
            work = min(work, (q.numel() + k.numel()) * v.shape[-1])
        counts.mac += 2 * work
    else:
        counts.muls += call.out.numel()
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(x, torch.Tensor):
            call.put_real(x=x)


@rule('aten::_scaled_dot_product_flash_attention_for_cpu_backward')
def torch_gradients(call: Call) -> None:
    """Count the multiply-adds of the gradients of torch's attention, in training only."""
    q, k, v = (call.args[key] for key in ('query', 'key', 'value'))
    counts, _ = call.row('backward', numbered=False)
    counts.mac += 2 * math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])
