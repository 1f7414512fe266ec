"""Rules of element-wise ops: sums, products, functions, comparisons."""

from typing import Any

from torch import Tensor

from mmbsa.energy import tags as domains
from mmbsa.energy.counts import Counts
from mmbsa.energy.rules.registry import Call, aten, rule
from mmbsa.energy.tags import Tag
from mmbsa.spiking import BINARY, TERNARY, SpikeDomain


def indices(call: Call) -> bool:
    """Return whether the op computes positions or flags, not activations."""
    if not isinstance(call.out, Tensor) or call.out.is_floating_point():
        return False
    call.counter.tags.drop(call.out)
    return True


@rule('aten::add', 'aten::sub', 'aten::rsub', 'aten::_foreach_add')
def add(call: Call) -> None:
    """Count a sum.

    A sum of spikes is an accumulate where both are not zero. A sum of potentials is one per
    element. A summand that is a weight is a bias.
    """
    a: Any = call.args.get('self')
    b: Any = call.args.get('other')
    alpha = call.args.get('alpha', 1)
    if indices(call):
        return
    if call.weights_only():
        return call.put(Tag(origin='weights', weight=True))
    sign = 1 if call.op.startswith('aten::add') else -1
    if not isinstance(b, Tensor) or not isinstance(a, Tensor):
        x = a if isinstance(a, Tensor) else b
        counts, _ = call.row('elementwise', ('input', x), numbered=False)
        counts.bias_adds += call.out.numel()
        return call.put_real('of a number')
    ta, tb = call.tag(a), call.tag(b)
    if ta.weight != tb.weight and not (ta.sparse and tb.sparse):
        x, tag = (b, tb) if ta.weight else (a, ta)
        counts, _ = call.row('add', ('input', x), numbered=False)
        counts.bias_adds += call.out.numel()
        return call.put_real('of a weight')
    counts, _ = call.row('add', ('left', a), ('right', b))
    counts.dense += call.out.numel()
    counts.outputs += call.out.numel()
    meet = _sum_events(call, a, b)
    counts.ac += meet
    counts.ac_events += meet
    second = domains.scale(tb.domain, sign * alpha)
    first = domains.scale(ta.domain, -1) if call.op == 'aten::rsub' else ta.domain
    second = tb.domain if call.op == 'aten::rsub' else second
    domain = domains.add(first, second)
    if domain is not None:
        serial = ta.bits is not None or tb.bits is not None  # sums of a twin's numbers are numbers
        bits = domain.levels.bit_length() + domain.signed if serial else None
        origin = f'sum of {"numbers" if serial else "spikes"}{call.counter.where()}'
        return call.put(Tag(domain, origin, bits=bits, steps=max(ta.steps, tb.steps)))
    if ta.sparse and tb.sparse:
        return call.put(
            Tag(
                origin=f'sum of spikes of different units{call.counter.where()}',
                exact=True,
                steps=max(ta.steps, tb.steps),
            )
        )
    call.put_real('of potentials')


def _sum_events(call: Call, a: Tensor, b: Tensor) -> int:
    """Return the accumulates of a + b."""
    ta, tb = call.tag(a), call.tag(b)
    if not ta.sparse and not tb.sparse:
        return call.out.numel()
    if ta.sparse and tb.sparse:
        return int((a.ne(0) & b.ne(0)).sum())
    spikes, other = (a, b) if ta.sparse else (b, a)
    return call.total(spikes, 'events') * (call.out.numel() // max(spikes.numel(), 1))


@rule('aten::mul', 'aten::div', 'aten::_foreach_mul', 'aten::true_divide')
def multiply(call: Call) -> None:
    """Count a product.

    Spikes times a number keep their counts. A mask of spikes passes elements. A factor that is a
    weight can be folded.
    """
    a: Any = call.args.get('self')
    b: Any = call.args.get('other')
    if indices(call):
        return
    if call.weights_only():
        domain = call.tag(a).domain if isinstance(a, Tensor) else None
        return call.put(
            Tag(
                domains.SpikeDomain(0, 0) if domain is not None and not domain.levels else None,
                'weights',
                weight=True,
            )
        )
    divides = 'div' in call.op
    if not isinstance(b, Tensor) or b.dim() == 0 and not b.is_floating_point():
        return _times_number(call, a, 1 / b if divides and b else b)
    if not isinstance(a, Tensor):
        return _times_number(call, b, a)
    ta, tb = call.tag(a), call.tag(b)
    if divides:
        counts, _ = call.row('elementwise', ('left', a), ('right', b), numbered=False)
        if tb.weight:
            counts.norm_macs += call.out.numel()
        else:
            counts.specials += call.out.numel()
        return call.put_real()
    counts, _ = call.row('elementwise', ('left', a), ('right', b), numbered=False)
    if ta.domain is not None and tb.domain is not None:
        domain = ta.domain.product(tb.domain)
        call.put(
            Tag(domain, f'product of spikes{call.counter.where()}', steps=max(ta.steps, tb.steps))
        )
        counts.gates += call.total(call.out, 'events')
        return
    if ta.weight or tb.weight:
        x, tag = (b, tb) if ta.weight else (a, ta)
        counts.norm_macs += call.total(x, 'events') if tag.sparse else call.out.numel()
        return call.put_real('with a weight')
    if ta.domain is not None or tb.domain is not None:
        spikes = a if ta.domain is not None else b
        counts.gates += call.total(spikes, 'events') * (call.out.numel() // max(spikes.numel(), 1))
        return call.put_real('of spikes and real numbers')
    counts.muls += call.out.numel()
    call.put_real('of real numbers')


def _times_number(call: Call, x: Tensor, factor) -> None:
    tag = call.tag(x)
    if isinstance(factor, Tensor):
        factor = float(factor)
    if tag.domain is not None:
        domain = domains.scale(tag.domain, float(factor))
        copied = tag.but(domain=domain, bounds=None)
        if domain is not None and factor and x.numel() == call.out.numel():
            copied.cache.update(
                {
                    key: value
                    for key, value in tag.cache.items()
                    if key[1:] in (('total',), ('map',))
                }
            )
        return call.put(copied)
    if tag.exact:
        return call.put(tag.but())
    if tag.weight:
        return call.put(tag.but())
    counts, _ = call.row('elementwise', ('input', x), numbered=False)
    counts.norm_macs += call.out.numel()
    call.put_real(
        'with a number',
        bounds=None
        if tag.bounds is None
        else tuple(sorted(bound * float(factor) for bound in tag.bounds)),
    )


@rule('aten::neg', 'aten::abs')
def sign_change(call: Call) -> None:
    """Count nothing: a change of sign of spikes or potentials is free."""
    tag = call.tag(call.args['self'])
    if tag.domain is None:
        return call.put_real() if not tag.exact else call.put(tag.but())
    levels = tag.domain.levels
    changed = (
        domains.scale(tag.domain, -1)
        if 'neg' in call.op
        else SpikeDomain(0, levels, tag.domain.unit)
    )
    call.put(tag.but(domain=changed))


@rule(*aten('clamp clamp_min clamp_max hardtanh relu relu6 threshold'))
def clamp(call: Call) -> None:
    """Count one comparison per bound; the result holds spikes if the bounds are levels."""
    if indices(call):
        return
    args, x = call.args, call.args['self']
    low, high = args.get('min', args.get('min_val')), args.get('max', args.get('max_val'))
    if 'relu' in call.op:
        low, high = 0, 6 if 'relu6' in call.op else None
    if 'hardtanh' in call.op:
        low, high = -1 if low is None else low, 1 if high is None else high
    tag = call.tag(x)
    if tag.weight:
        return call.put(Tag(origin='weights', weight=True))
    counts, _ = call.row('elementwise', ('input', x), numbered=False)
    numbers = (
        not any(isinstance(bound, Tensor) for bound in (low, high)) and 'threshold' not in call.op
    )
    domain = domains.clip(tag.domain, low, high) if numbers else None
    if domain is not None:
        return call.put(tag.but(domain=domain))
    counts.comparisons += call.out.numel() * max(1, (low is not None) + (high is not None))
    bounds = (float(low), float(high)) if numbers and low is not None and high is not None else None
    call.put_real(bounds=bounds)


@rule('aten::round', 'aten::floor', 'aten::ceil', 'aten::trunc')
def to_integer(call: Call) -> None:
    """Count rounding: a clamped tensor becomes counts of its interval.

    Integer neurons are often written in this way.
    """
    if indices(call):
        return
    tag = call.tag(call.args['self'])
    if tag.domain is not None and float(tag.domain.unit).is_integer():
        return call.put(tag.but())
    if tag.bounds is not None and tag.bounds[0] <= 0 <= tag.bounds[1]:
        low, high = int(tag.bounds[0]), int(tag.bounds[1])
        return call.put(
            Tag(
                SpikeDomain(low, high),
                f'rounded clamp to {low}..{high}{call.counter.where()}',
                steps=tag.steps,
            )
        )
    call.put_real()


@rule(*aten('eq ne lt le gt ge isnan isinf isfinite heaviside sign isclose signbit sgn isin'))
def compare(call: Call) -> None:
    """Count one comparison per element; the results are 0 and 1 (sign: -1, 0 and 1)."""
    x = call.tensors()[0]
    if x.is_floating_point() and not call.weights_only():
        counts, _ = call.row('elementwise', ('input', x), numbered=False)
        counts.comparisons += call.out.numel() * (
            2 if 'sgn' in call.op or call.op.startswith('aten::sign') else 1
        )
    signed = call.op in ('aten::sign', 'aten::sgn', 'aten::sign_', 'aten::sgn_')
    call.put(
        Tag(
            TERNARY if signed else BINARY,
            f'comparison{call.counter.where()}',
            weight=False,
            steps=call.tag(x).steps,
        )
    )


@rule(
    *aten(
        'logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not '
        'bitwise_xor __and__ __or__ __xor__ bitwise_left_shift bitwise_right_shift __lshift__ '
        '__rshift__ remainder fmod floor_divide gcd'
    )
)
def logic(call: Call) -> None:
    """Count operations on masks and positions; on real numbers, count a division."""
    if indices(call):
        return
    counts, _ = call.row('elementwise', ('input', call.tensors()[0]), numbered=False)
    counts.specials += call.out.numel()
    call.put_real()


@rule('aten::maximum', 'aten::minimum', 'aten::fmax', 'aten::fmin')
def larger(call: Call) -> None:
    """Count one comparison per element."""
    if indices(call):
        return
    a, b = call.args['self'], call.args['other']
    counts, _ = call.row('elementwise', ('left', a), ('right', b), numbered=False)
    counts.comparisons += call.out.numel()
    tags = [call.tag(a), call.tag(b)]
    domain = domains.union([tag.domain for tag in tags])
    if domain is not None:
        return call.put(Tag(domain, tags[0].origin, steps=max(tag.steps for tag in tags)))
    call.put_real()


def function(call: Call) -> None:
    """Count one function per element that an adder cannot compute."""
    if indices(call):
        return
    if call.weights_only():
        return call.put(Tag(origin='weights', weight=True))
    tensors = call.tensors()
    counts, _ = call.row('elementwise', *(('input', x) for x in tensors[:1]), numbered=False)
    counts.specials += call.out.numel()
    call.put_real()


rule(
    *aten(
        'exp exp2 expm1 log log2 log10 log1p sigmoid tanh gelu silu mish erf erfc erfinv sqrt '
        'rsqrt sin cos tan asin acos atan atan2 sinh cosh reciprocal pow float_power square '
        'softplus elu celu leaky_relu prelu _prelu_kernel hardsigmoid hardswish log_sigmoid '
        'log_sigmoid_forward logit glu special_xlogy frac nan_to_num hypot ldexp frexp polar '
        'view_as_complex _fft_r2c _fft_c2r _fft_c2c logaddexp logaddexp2'
    )
)(function)


@rule('aten::addcmul', 'aten::addcdiv', 'aten::lerp')
def fused(call: Call) -> None:
    """Count one multiply-accumulate per element, without weights."""
    if call.weights_only():
        return call.put(Tag(origin='weights', weight=True))
    counts, _ = call.row('elementwise', ('input', call.args['self']), numbered=False)
    _macs(counts, call.out.numel() * (2 if 'lerp' in call.op else 1))
    call.put_real()


def _macs(counts: Counts, macs: int) -> None:
    counts.mac += macs
    counts.mac_valid += macs
    counts.mac_nonzero += macs
    counts.mac_repeated += macs
