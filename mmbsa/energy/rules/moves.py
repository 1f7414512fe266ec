"""Rules of ops without arithmetic: they allocate, copy, select or join, and keep the values."""

import torch
from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.rules.registry import Call, aten, rule
from mmbsa.energy.tags import OUTSIDE, Tag, union
from mmbsa.spiking import SpikeDomain

#: domain of zeros: no spikes.
SILENT = SpikeDomain(0, 0)


def keep(call: Call) -> None:
    """Give every result the tag of the first tensor argument."""
    source = call.tensors()[0]
    tag = call.tag(source)
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(x, Tensor) and (x.is_floating_point() or x.dtype == source.dtype):
            copied = tag.but(
                **({} if x.numel() == source.numel() else dict(copies=1, copy_numel=0))
            )
            # a copy of all elements has the same sums as its source
            if x.numel() == source.numel() and sums._whole(source):
                copied.cache.update(
                    {key: value for key, value in tag.cache.items() if key[1:] == ('total',)}
                )
            call.put(copied, x)


rule(
    *aten(
        'clone _to_copy _reshape_copy contiguous index index_select gather masked_select take '
        'flip roll repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle '
        'native_channel_shuffle im2col tril triu sort topk unique_dim _unique2 '
        'unique_consecutive embedding upsample_nearest1d upsample_nearest2d '
        'upsample_nearest3d _upsample_nearest_exact2d view_copy permute_copy slice_copy '
        'select_copy expand_copy unfold_copy rot90 pad_sequence kthvalue median mode '
        '_index_put_impl replication_pad1d replication_pad2d replication_pad3d '
        'reflection_pad1d reflection_pad2d reflection_pad3d native_dropout dropout '
        '_fused_dropout alpha_dropout resize split_with_sizes_copy unbind_copy stack_copy '
        'max_unpool2d'
    )
)(keep)


@rule('aten::repeat')
def repeat(call: Call) -> None:
    """Tag copies; T copies along a new or leading dimension are equal steps."""
    keep(call)
    x, times = call.args['self'], call.args['repeats']
    if len(times) > 1 and all(n == 1 for n in times[1:]) and times[0] > 1:
        copies_of(call, x, times[0])


@rule('aten::expand')
def expand(call: Call) -> None:
    """Rule for ``aten::expand``: record an expanded dimension 0 as equal steps."""
    x, out = call.args['self'], call.out
    if out.dim() > 1 and out.stride(0) == 0 and out.numel() == out.size(0) * x.numel() > x.numel():
        copies_of(call, x, out.size(0))


def copies_of(call: Call, x: Tensor, times: int) -> None:
    """Record that a result holds x ``times`` times."""
    tag = call.tag(x)
    if not tag.weight and tag.domain is None and not tag.exact and x.is_floating_point():
        copied = tag.but(copies=times, copy_numel=x.numel()) if tag.copies <= 1 else tag.but()
        call.put(copied)


@rule('aten::copy_')
def copy(call: Call) -> None:
    """Tag a tensor that is written into.

    If a part is written, the domain becomes the union of the old and the new values.
    """
    write(call, call.args['self'], call.args['src'])


def write(call: Call, target: Tensor, source: Tensor) -> None:
    """Tag a target of which all or a part was overwritten with values of ``source``."""
    new = call.tag(source)
    old = call.tag(target)
    if sums._whole(target) or old.origin == OUTSIDE and new.domain is None:
        return call.put(new.but(copies=1, copy_numel=0), target)
    domain = union([old.domain, new.domain])
    call.put(
        Tag(
            domain,
            old.origin if old.domain is not None and new.domain is None else new.origin,
            weight=old.weight and new.weight,
            exact=old.sparse and new.sparse and domain is None,
            steps=max(old.steps, new.steps),
        ),
        target,
    )


@rule(*aten('cat stack hstack vstack block_diag _foreach_copy'))
def join(call: Call) -> None:
    """Tag joined tensors: joined spikes are spikes if their units are equal."""
    tags = [call.tag(x) for x in call.tensors() if x.numel()]
    if not tags:
        return
    merge(call, tags)


def merge(call: Call, tags: list[Tag]) -> None:
    """Tag a result that holds values of all these tags."""
    domain = union([tag.domain for tag in tags])
    sources = [tag for tag in tags if tag.domain is None] or tags
    call.put(
        Tag(
            domain,
            sources[0].origin,
            weight=all(tag.weight for tag in tags),
            exact=domain is None and all(tag.sparse for tag in tags),
            steps=max(tag.steps for tag in tags),
            bits=tags[0].bits if all(tag.bits == tags[0].bits for tag in tags) else None,
        )
    )


@rule('aten::where')
def where(call: Call) -> None:
    """Tag a selection from two tensors; a number other than 0 makes it real-valued."""
    if 'self' not in call.args or 'other' not in call.args:
        return
    tags = []
    for x in (call.args['self'], call.args['other']):
        if isinstance(x, Tensor):
            tags.append(call.tag(x))
        else:
            tags.append(Tag(SILENT if x == 0 else None, 'a number', weight=True))
    merge(call, tags)


@rule('aten::masked_fill', 'aten::constant_pad_nd', 'aten::fill', 'aten::index_fill')
def filled(call: Call) -> None:
    """Tag a tensor of which a part becomes a number.

    Spikes remain spikes if the number is 0; padding holds no spikes.
    """
    value = call.args.get('value', 0)
    number = value.item() if isinstance(value, Tensor) and value.dim() == 0 else value
    tag = call.tag(call.args['self'])
    if call.op.startswith('aten::fill'):
        return constant(call, number)
    if number == 0:
        return call.put(tag.but(copies=1, copy_numel=0, bounds=None))
    merge(call, [tag, Tag(None, f'filled with {number}', weight=tag.weight)])


@rule(
    *aten(
        'index_put scatter scatter_add index_add index_copy slice_scatter select_scatter '
        'scatter_reduce masked_scatter put index_reduce'
    )
)
def scattered(call: Call) -> None:
    """Tag a tensor of which a part is overwritten or added to."""
    values = next(
        (
            call.args[key]
            for key in ('values', 'src', 'source')
            if isinstance(call.args.get(key), Tensor)
        ),
        None,
    )
    tags = [call.tag(call.args['self'])] + ([] if values is None else [call.tag(values)])
    adds = 'add' in call.op or bool(call.args.get('accumulate'))
    if adds and call.out.is_floating_point() and not all(tag.weight for tag in tags):
        counts, _ = call.row('add', ('left', call.args['self']), numbered=False)
        added = 0 if values is None else values.numel()
        counts.ac += added
        counts.ac_events += added
        return call.put_real()
    merge(call, tags)


@rule(
    'aten::zeros', 'aten::zeros_like', 'aten::new_zeros', 'aten::zero', 'aten::_efficientzerotensor'
)
def zeros(call: Call) -> None:
    """Tag a result without spikes."""
    constant(call, 0)


def constant(call: Call, number: float | None) -> None:
    """Tag a result that is the same for all inputs.

    Args:
        call: call of the op.
        number: value of all elements; None if unknown or different.
    """
    call.put(Tag(SILENT if number == 0 else None, 'a constant', weight=True))


@rule(
    *aten(
        'ones ones_like new_ones full full_like new_full arange linspace logspace eye '
        'scalar_tensor tril_indices triu_indices hann_window range'
    )
)
def constants(call: Call) -> None:
    """Tag tensors that do not depend on any input."""
    constant(call, None)


@rule(
    *aten(
        'empty empty_like new_empty new_empty_strided empty_strided empty_permuted lift_fresh '
        'lift_fresh_copy lift rand randn rand_like randn_like randint randperm bernoulli '
        'uniform normal normal_functional random multinomial exponential poisson set set_data '
        'resize_as _unsafe_view _local_scalar_dense item is_same_size equal nonzero '
        'nonzero_static argwhere bincount histc bucketize searchsorted one_hot sym_size '
        'sym_stride sym_numel is_nonzero _assert_async _assert_scalar record_stream is_pinned '
        '_pin_memory _has_compatible_shallow_copy_type argsort _nested_tensor_from_mask '
        '_unsafe_index _is_all_true _is_any_true can_cast _cast_Float '
        '_debug_has_internal_overlap _conj_physical combinations cartesian_prod meshgrid'
    ),
    'profiler::_record_function_enter_new',
    'profiler::_record_function_exit',
    'prim::device',
    'prim::layout',
    'torchvision::nms',
)
def nothing(call: Call) -> None:
    """Count nothing: memory, random draws, indices and queries; no arithmetic on activations."""
    op = call.op
    if op in ('aten::_unsafe_view', 'aten::set_data'):
        return  # one storage with another shape
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(x, Tensor):
            if op.startswith('aten::bernoulli'):
                call.put(Tag(SpikeDomain(0, 1), 'a random draw of 0 and 1'), x)
            elif op in ('aten::_unsafe_index', 'aten::_cast_Float'):
                call.put(call.tag(call.tensors()[0]).but(), x)
            elif x.dtype is not torch.bool:
                call.counter.tags.drop(x)
