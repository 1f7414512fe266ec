"""Rules of sums, means, maxima, pools, norms, and resizing."""

import math

from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.rules.convolution import _spread, once
from mmbsa.energy.rules.elementwise import _macs, indices
from mmbsa.energy.rules.matmul import softmax as softmax_figures
from mmbsa.energy.rules.registry import Call, aten, rule
from mmbsa.energy.tags import Tag


def _input(call: Call) -> Tensor:
    return call.tensors()[0]


def _steps(call: Call, x: Tensor) -> int:
    """Return T of a result; a reduction over the leading dimension removes the time axis."""
    tag, dims = call.tag(x), call.args.get('dim')
    dims = [] if dims is None else dims if isinstance(dims, list | tuple) else [dims]
    over = not dims or 0 in [d % max(x.dim(), 1) for d in dims]
    return 0 if over and tag.steps and x.dim() and x.size(0) == tag.steps else tag.steps


@rule(*aten('sum nansum cumsum mean nanmean trace'))
def sum_up(call: Call) -> None:
    """Count one accumulate per spike or real number; the division of a mean can be folded."""
    if indices(call):
        return
    x = _input(call)
    tag = call.tag(x)
    if tag.weight:
        return call.put(Tag(origin='weights', weight=True))
    counts, _ = call.row('reduction', ('input', x), numbered=False)
    equal, _ = once(tag, x)
    counts.ac += (
        call.total(x, 'counts' if tag.domain is not None else 'events') if tag.sparse else x.numel()
    ) // equal
    counts.ac_events += (call.total(x, 'events') if tag.sparse else x.numel()) // equal
    counts.outputs += call.out.numel()
    if tag.sparse and 'mean' not in call.op:
        return call.put(
            Tag(origin=f'sum of spikes{call.counter.where()}', exact=True, steps=_steps(call, x))
        )
    call.put_real('of spikes' if tag.sparse else '', steps=_steps(call, x), copies=1)


@rule(*aten('amax amin max min aminmax argmax argmin cummax'))
def extreme(call: Call) -> None:
    """Count one comparison less than elements; the largest spike is a spike."""
    x = _input(call)
    out = call.out
    counts, _ = call.row('reduction', ('input', x), numbered=False)
    counts.comparisons += max(0, x.numel() - out.numel())
    if indices(call):
        return
    tag = call.tag(x)
    call.put(tag.but(copies=1, copy_numel=0, bounds=None, steps=_steps(call, x)))


@rule(
    *aten(
        'prod cumprod std var var_mean std_mean norm linalg_vector_norm dist _cdist_forward '
        '_euclidean_dist _pdist_forward'
    )
)
def moments(call: Call) -> None:
    """Count one multiply-accumulate per element; distances need one per pair and dimension."""
    if indices(call):
        return
    if call.weights_only():
        return call.put(Tag(origin='weights', weight=True))
    tensors = call.tensors()
    counts, _ = call.row('reduction', ('input', tensors[0]), numbered=False)
    pairwise = 'cdist' in call.op or 'euclidean' in call.op
    _macs(counts, call.out.numel() * tensors[0].shape[-1] if pairwise else tensors[0].numel())
    counts.specials += call.out.numel()
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        call.put_real(x=x, copies=1)


@rule('aten::any', 'aten::all', 'aten::count_nonzero')
def quantify(call: Call) -> None:
    """Count nothing: flags and sizes are no activations."""
    indices(call)


@rule(*aten('_softmax _log_softmax softmax log_softmax logsumexp _safe_softmax'))
def softmax(call: Call) -> None:
    """Count exponentials, divisions, a maximum and a sum per row."""
    x = _input(call)
    dim = call.args.get('dim', -1)
    length = math.prod(x.shape[d] for d in (dim if isinstance(dim, list | tuple) else [dim]))
    counts, _ = call.row('elementwise', ('input', x), numbered=False)
    softmax_figures(counts, x.numel() // max(length, 1), length)
    call.put_real()


@rule(
    *aten(
        'max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices '
        'max_pool1d_with_indices mkldnn_max_pool2d'
    )
)
def max_pool(call: Call) -> None:
    """Count one comparison less than taps inside the map, per output; spikes remain spikes."""
    x, out = call.args['self'], call.out
    kernel = call.args['kernel_size']
    dims = (
        len(kernel)
        if isinstance(kernel, list | tuple) and len(kernel) > 1
        else int(call.op.split('pool')[1][0])
    )
    kernel = _spread(kernel, dims, 1)
    stride = _spread(call.args.get('stride') or kernel, dims, 1)
    padding, dilation = (
        _spread(call.args.get(key), dims, default)
        for key, default in (('padding', 0), ('dilation', 1))
    )
    hits = [
        sum(sums.taps(*key, False))
        for key in zip(x.shape[-dims:], out.shape[-dims:], kernel, stride, padding, dilation)
    ]
    maps = x.numel() // max(math.prod(x.shape[-dims:]), 1)
    counts, _ = call.row('pool', ('input', x))
    counts.comparisons += maps * math.prod(hits) - out.numel()
    counts.outputs += out.numel()
    tag = call.tag(x)
    copies = dict(copy_numel=tag.copy_numel * out.numel() // x.numel()) if tag.copies > 1 else {}
    call.put(tag.but(bounds=None, **copies))


@rule(
    'aten::adaptive_max_pool2d',
    'aten::adaptive_max_pool3d',
    'aten::adaptive_max_pool1d',
    'aten::fractional_max_pool2d',
)
def adaptive_max_pool(call: Call) -> None:
    """Count comparisons of windows that divide the map: one less per window than its elements."""
    x = call.args['self']
    counts, _ = call.row('pool', ('input', x))
    counts.comparisons += max(0, x.numel() - call.out.numel())
    counts.outputs += call.out.numel()
    call.put(call.tag(x).but(copies=1, copy_numel=0, bounds=None))


@rule(
    *aten(
        'avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d '
        'adaptive_avg_pool1d adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d'
    )
)
def average_pool(call: Call) -> None:
    """Count one accumulate per tap inside the map; the division can be folded.

    The accumulate adds a spike or a real number.
    """
    x, out, kernel = call.args['self'], call.out, call.args.get('kernel_size')
    tag = call.tag(x)
    if kernel is None:
        taps = None  # adaptive windows cover every element once, if the sizes divide evenly
    else:
        dims = int(call.op.split('pool')[1][0])
        kernel = _spread(kernel, dims, 1)
        stride = _spread(call.args.get('stride') or kernel, dims, 1)
        padding = _spread(call.args.get('padding'), dims, 0)
        taps = tuple(
            sums.taps(*key, 1, False)
            for key in zip(x.shape[-dims:], out.shape[-dims:], kernel, stride, padding)
        )
    counts, _ = call.row('pool', ('input', x))
    figures = {}
    for what in ('counts' if tag.domain is not None else 'events', 'events'):
        if not tag.sparse:
            whole = (
                x.numel() // max(math.prod(x.shape[-len(taps) :]), 1) * math.prod(map(sum, taps))
                if taps
                else x.numel()
            )
        else:
            whole = sums.pairs(x, tag, what, taps, 1) if taps else call.total(x, what)
        figures[what] = whole
    counts.ac += figures.get('counts', figures['events'])
    counts.ac_events += figures['events']
    counts.outputs += out.numel()
    call.put_real('of spikes' if tag.sparse else '')


@rule(
    *aten(
        'native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training '
        '_native_batch_norm_legit_functional cudnn_batch_norm miopen_batch_norm batch_norm '
        '_batch_norm_with_update _batch_norm_no_update batch_norm_elemt '
        '_batch_norm_impl_index'
    )
)
def batch_norm(call: Call) -> None:
    """Count nothing in the totals: the norm is folded into the layer before it.

    Unfolded, it needs one multiply-accumulate per element (``norm_macs``).
    """
    x = call.args['input']
    counts, _ = call.row('norm', ('input', x))
    equal, _ = once(call.tag(x), x)
    counts.norm_macs += call.out.numel() // equal
    call.put_real(of=(x,))


@rule(
    *aten(
        'native_layer_norm native_group_norm instance_norm layer_norm group_norm '
        '_fused_rms_norm rms_norm batch_norm_stats batch_norm_gather_stats_with_counts'
    )
)
def layer_norm(call: Call) -> None:
    """Count one accumulate (mean) and two multiply-accumulates per element.

    The norm depends on the input, so it is never folded.
    """
    x = call.args.get('input', _input(call))
    counts, _ = call.row('norm', ('input', x))
    counts.ac += x.numel()
    counts.ac_events += x.numel()
    _macs(counts, 2 * x.numel())
    for out in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(out, Tensor):
            call.put_real(x=out)


#: multiply-adds per output value of each mode.
_TAPS = {
    'upsample_linear1d': 2,
    'upsample_bilinear2d': 4,
    '_upsample_bilinear2d_aa': 4,
    'upsample_trilinear3d': 8,
    'upsample_bicubic2d': 16,
    '_upsample_bicubic2d_aa': 16,
    'grid_sampler_2d': 4,
    'grid_sampler_3d': 8,
    'grid_sampler': 4,
    'cudnn_grid_sampler': 4,
    '_grid_sampler_2d_cpu_fallback': 4,
    'roi_align': 4,
}


def resize(call: Call) -> None:
    """Count an interpolation of 2 to 16 values per output; the result is real-valued."""
    x = _input(call)
    if call.tag(x).weight and call.weights_only():
        return call.put(Tag(origin='weights', weight=True))
    counts, _ = call.row('resize', ('input', x))
    _macs(counts, call.out.numel() * _TAPS[call.op.split('::')[1]])
    counts.outputs += call.out.numel()
    call.put_real('of spikes' if call.tag(x).sparse else '')


rule(*(f'{"torchvision" if name == "roi_align" else "aten"}::{name}' for name in _TAPS))(resize)
