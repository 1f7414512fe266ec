"""Ops without arithmetic: they allocate, copy, pick or join, and values stay what they were."""
import torch
from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.rules.registry import Call, rule
from mmbsa.energy.tags import OUTSIDE, Tag, union
from mmbsa.spiking import SpikeDomain

#: of zeros: no spikes at all.
SILENT = SpikeDomain(0, 0)


def keep(call: Call) -> None:
    """Every result holds values of the first tensor argument."""
    source = call.tensors()[0]
    tag = call.tag(source)
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(x, Tensor) and (x.is_floating_point() or x.dtype == source.dtype):
            copied = tag.but(**({} if x.numel() == source.numel() else dict(copies=1, copy_numel=0)))
            # a copy of all elements has the sums of its source
            if x.numel() == source.numel() and sums._whole(source):
                copied.cache.update({key: value for key, value in tag.cache.items() if key[1:] == ('total',)})
            call.put(copied, x)


rule('aten::clone', 'aten::_to_copy', 'aten::_reshape_copy', 'aten::contiguous', 'aten::index', 'aten::index_select',
     'aten::gather', 'aten::masked_select', 'aten::take', 'aten::flip', 'aten::roll', 'aten::repeat_interleave',
     'aten::pixel_shuffle', 'aten::pixel_unshuffle', 'aten::channel_shuffle', 'aten::native_channel_shuffle',
     'aten::im2col', 'aten::tril', 'aten::triu', 'aten::sort', 'aten::topk', 'aten::unique_dim', 'aten::_unique2',
     'aten::unique_consecutive', 'aten::embedding', 'aten::upsample_nearest1d', 'aten::upsample_nearest2d',
     'aten::upsample_nearest3d', 'aten::_upsample_nearest_exact2d', 'aten::view_copy', 'aten::permute_copy',
     'aten::slice_copy', 'aten::select_copy', 'aten::expand_copy', 'aten::unfold_copy', 'aten::rot90',
     'aten::pad_sequence', 'aten::kthvalue', 'aten::median', 'aten::mode', 'aten::_index_put_impl',
     'aten::replication_pad1d', 'aten::replication_pad2d', 'aten::replication_pad3d', 'aten::reflection_pad1d',
     'aten::reflection_pad2d', 'aten::reflection_pad3d', 'aten::native_dropout', 'aten::dropout',
     'aten::_fused_dropout', 'aten::alpha_dropout', 'aten::resize', 'aten::split_with_sizes_copy', 'aten::unbind_copy',
     'aten::stack_copy', 'aten::max_unpool2d')(keep)


@rule('aten::repeat')
def repeat(call: Call) -> None:
    """Copies; T copies along a new or leading dimension are equal steps."""
    keep(call)
    x, times = call.args['self'], call.args['repeats']
    if len(times) > 1 and all(n == 1 for n in times[1:]) and times[0] > 1:
        copies_of(call, x, times[0])


@rule('aten::expand')
def expand(call: Call) -> None:
    """A view: along a leading dimension it shows equal steps."""
    x, out = call.args['self'], call.out
    if out.dim() > 1 and out.stride(0) == 0 and out.numel() == out.size(0) * x.numel() > x.numel():
        copies_of(call, x, out.size(0))


def copies_of(call: Call, x: Tensor, times: int) -> None:
    """Note that a result holds x so many times."""
    tag = call.tag(x)
    if not tag.weight and tag.domain is None and not tag.exact and x.is_floating_point():
        copied = tag.but(copies=times, copy_numel=x.numel()) if tag.copies <= 1 else tag.but()
        call.put(copied)


@rule('aten::copy_')
def copy(call: Call) -> None:
    """Write into a tensor: a part of it makes the whole a union of what was there and what came."""
    write(call, call.args['self'], call.args['src'])


def write(call: Call, target: Tensor, source: Tensor) -> None:
    """Tag a target, all or a part of which was overwritten with values of source."""
    new = call.tag(source)
    old = call.tag(target)
    if sums._whole(target) or old.origin == OUTSIDE and new.domain is None:
        return call.put(new.but(copies=1, copy_numel=0), target)
    domain = union([old.domain, new.domain])
    call.put(Tag(domain, old.origin if old.domain is not None and new.domain is None else new.origin,
                 weight=old.weight and new.weight, exact=old.sparse and new.sparse and domain is None,
                 steps=max(old.steps, new.steps)), target)


@rule('aten::cat', 'aten::stack', 'aten::hstack', 'aten::vstack', 'aten::block_diag', 'aten::_foreach_copy')
def join(call: Call) -> None:
    """Joined spikes are spikes if their units agree."""
    tags = [call.tag(x) for x in call.tensors() if x.numel()]
    if not tags:
        return
    merge(call, tags)


def merge(call: Call, tags: list[Tag]) -> None:
    """The result holds values of all of these."""
    domain = union([tag.domain for tag in tags])
    sources = [tag for tag in tags if tag.domain is None] or tags
    call.put(Tag(domain, sources[0].origin, weight=all(tag.weight for tag in tags),
                 exact=domain is None and all(tag.sparse for tag in tags), steps=max(tag.steps for tag in tags),
                 bits=tags[0].bits if all(tag.bits == tags[0].bits for tag in tags) else None))


@rule('aten::where')
def where(call: Call) -> None:
    """Picks one of two; numbers other than 0 make it real-valued."""
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
    """A part becomes a number: spikes stay spikes if it is 0; padding is silent."""
    value = call.args.get('value', 0)
    number = value.item() if isinstance(value, Tensor) and value.dim() == 0 else value
    tag = call.tag(call.args['self'])
    if call.op.startswith('aten::fill'):
        return constant(call, number)
    if number == 0:
        return call.put(tag.but(copies=1, copy_numel=0, bounds=None))
    merge(call, [tag, Tag(None, f'filled with {number}', weight=tag.weight)])


@rule('aten::index_put', 'aten::scatter', 'aten::scatter_add', 'aten::index_add', 'aten::index_copy', 'aten::slice_scatter',
      'aten::select_scatter', 'aten::scatter_reduce', 'aten::masked_scatter', 'aten::put', 'aten::index_reduce')
def scattered(call: Call) -> None:
    """A part is overwritten or added to."""
    values = next((call.args[key] for key in ('values', 'src', 'source') if isinstance(call.args.get(key), Tensor)), None)
    tags = [call.tag(call.args['self'])] + ([] if values is None else [call.tag(values)])
    adds = 'add' in call.op or bool(call.args.get('accumulate'))
    if adds and call.out.is_floating_point() and not all(tag.weight for tag in tags):
        counts, _ = call.row('add', ('left', call.args['self']), numbered=False)
        counts.ac += values.numel()
        counts.ac_events += values.numel()
        return call.put_real()
    merge(call, tags)


@rule('aten::zeros', 'aten::zeros_like', 'aten::new_zeros', 'aten::zero', 'aten::_efficientzerotensor')
def zeros(call: Call) -> None:
    """No spikes at all."""
    constant(call, 0)


def constant(call: Call, number: float | None) -> None:
    """The result is the same for all inputs."""
    call.put(Tag(SILENT if number == 0 else None, 'a constant', weight=True))


@rule('aten::ones', 'aten::ones_like', 'aten::new_ones', 'aten::full', 'aten::full_like', 'aten::new_full', 'aten::arange',
      'aten::linspace', 'aten::logspace', 'aten::eye', 'aten::scalar_tensor', 'aten::tril_indices', 'aten::triu_indices',
      'aten::hann_window', 'aten::range')
def constants(call: Call) -> None:
    """Tensors that no input enters."""
    constant(call, None)


@rule('aten::empty', 'aten::empty_like', 'aten::new_empty', 'aten::new_empty_strided', 'aten::empty_strided',
      'aten::empty_permuted', 'aten::lift_fresh', 'aten::lift_fresh_copy', 'aten::lift', 'aten::rand', 'aten::randn',
      'aten::rand_like', 'aten::randn_like', 'aten::randint', 'aten::randperm', 'aten::bernoulli', 'aten::uniform',
      'aten::normal', 'aten::normal_functional', 'aten::random', 'aten::multinomial', 'aten::exponential', 'aten::poisson',
      'aten::set', 'aten::set_data', 'aten::resize_as', 'aten::_unsafe_view', 'aten::_local_scalar_dense', 'aten::item',
      'aten::is_same_size', 'aten::equal', 'aten::nonzero', 'aten::nonzero_static', 'aten::argwhere', 'aten::bincount',
      'aten::histc', 'aten::bucketize', 'aten::searchsorted', 'aten::one_hot', 'aten::sym_size', 'aten::sym_stride',
      'aten::sym_numel', 'aten::is_nonzero', 'aten::_assert_async', 'aten::_assert_scalar', 'aten::record_stream',
      'aten::is_pinned', 'aten::_pin_memory', 'aten::_has_compatible_shallow_copy_type', 'aten::argsort',
      'aten::_nested_tensor_from_mask', 'aten::_unsafe_index', 'aten::_is_all_true', 'aten::_is_any_true',
      'aten::can_cast', 'aten::_cast_Float', 'aten::_debug_has_internal_overlap', 'aten::_conj_physical',
      'profiler::_record_function_enter_new', 'profiler::_record_function_exit', 'prim::device', 'prim::layout',
      'torchvision::nms', 'aten::combinations', 'aten::cartesian_prod', 'aten::meshgrid')
def nothing(call: Call) -> None:
    """Memory, random draws, indices and answers to questions: no arithmetic on activations."""
    op = call.op
    if op in ('aten::_unsafe_view', 'aten::set_data'):
        return  # one storage under another shape
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(x, Tensor):
            if op.startswith('aten::bernoulli'):
                call.put(Tag(SpikeDomain(0, 1), 'a random draw of 0 and 1'), x)
            elif op in ('aten::_unsafe_index', 'aten::_cast_Float'):
                call.put(call.tag(call.tensors()[0]).but(), x)
            elif x.dtype is not torch.bool:
                call.counter.tags.drop(x)
