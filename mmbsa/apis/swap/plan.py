"""Choice of the levels that the new backbone returns, and of the necks before the old heads."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmbsa.apis.swap.heads import (
    EXACT,
    ONE_WIDTH,
    Consumers,
    default_indices,
    input_indices,
)
from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.apis.swap.match import match, match_decoded
from mmbsa.apis.swap.measure import Outputs, measure_neck
from mmbsa.utils.types import type_name

#: smallest and largest width of the top-down merge that replaces the decoder of a backbone.
DECODER_WIDTHS = (64, 256)


@dataclass
class Plan:
    """Levels of the new backbone and the modules after it.

    Attributes:
        levels: ascending indices of the returned levels in the given list.
        neck: config of the neck after the temporal readout; None for no neck.
        maps: maps that the heads read; None if a neck returns the old maps.
        new_indices: old index -> index in ``maps``.
    """

    levels: list[int]
    neck: dict | None = None
    maps: list[Level] | None = None
    new_indices: dict[int, int] = field(default_factory=dict)


def adapter(maps: Sequence[Level], sources: Sequence[int], **options) -> dict:
    """Return the config of a :class:`LevelAdapter` whose outputs come from ``maps[sources[i]]``.

    Options with value None are omitted.
    """
    return dict(
        type='mmbsa.LevelAdapter',
        in_channels=[m.channels for m in maps],
        in_strides=[m.stride for m in maps],
        sources=list(sources),
        **{k: v for k, v in options.items() if v not in (None, False)},
    )


def scoped(neck: dict, scope: str) -> dict:
    """Return a stock neck's config with its scope, since a neck of mmbsa builds it."""
    if isinstance(neck.get('type'), str) and '.' not in neck['type']:
        return dict(neck, type=f'{scope}.{neck["type"]}')
    return dict(neck)


def plan_with_neck(neck: dict, outputs: Outputs, new: Sequence[Level], scope: str) -> Plan:
    """Keep the config's neck: return levels in its order and number, and set its channels.

    Args:
        neck: config of the neck.
        outputs: outputs of the old backbone.
        new: levels of the new backbone, fine to coarse.
        scope: default scope of the config.

    Raises:
        SwapError: the neck needs more than maps, or does not build.
    """
    old, name = outputs.levels, type_name(neck)
    if outputs.tokens or outputs.eval_out is not None:
        raise SwapError(f'neck {name} reads more than plain maps from its backbone')
    channels = neck.get('in_channels')
    one_width = name in ONE_WIDTH or isinstance(channels, int)
    if isinstance(channels, (list, tuple)) and len(channels) != len(old):
        raise SwapError(
            f'neck {name} has {len(channels)} in_channels, but its backbone returns {len(old)} maps'
        )
    matched = match(old, new, one_width)
    used = sorted(set(matched))
    neck = scoped(neck, scope)
    widths = [new[j].channels for j in matched]
    if isinstance(channels, (list, tuple)):
        neck['in_channels'] = type(channels)(widths)
    elif one_width:
        neck[ONE_WIDTH.get(name, 'in_channels')] = widths[-1]
    plan = Plan(used, neck)
    if matched != used:
        plan.neck = adapter([new[j] for j in used], [used.index(j) for j in matched], neck=neck)
    try:
        plan.maps = measure_neck(neck, [new[j] for j in matched], scope)
    except Exception as error:  # any error of the neck's package, for example a missing op
        if 'out_channels' not in neck:
            raise SwapError(
                f'neck {name} does not build here, so what it returns is unknown: {error}'
            ) from error
        return plan
    plan.new_indices = {i: i for i in range(len(plan.maps))}
    return plan


def plan_without_neck(read_by: Consumers, outputs: Outputs, new: Sequence[Level]) -> Plan:
    """Choose levels for the heads, decoded or adapted if channels are not enough.

    If all maps of a main head were decoded, the head reads fine maps that contain coarse context.
    The levels of the new backbone contain none, so they are merged top-down first.

    Args:
        read_by: the heads.
        outputs: outputs of the old backbone.
        new: levels of the new backbone, fine to coarse.
    """
    old = outputs.levels
    main = read_by.main
    if (
        outputs.eval_out is not None
    ):  # the heads unpack the outputs of the backbone, so their number must not change
        exact, read = 'maps', list(range(len(old)))
        decoded = old[outputs.eval_out].decoded
    else:
        exact = next((EXACT[type_name(r)][0] for r in main if type_name(r) in EXACT), None)
        read = sorted(
            {i for r in read_by.parts for i in (*input_indices(r, len(old)), *default_indices(r))}
        )
        decoded = any(all(old[i].decoded for i in input_indices(r, len(old))) for r in main)
    if exact or outputs.tokens:
        read = list(range(len(old)))
    matched = (
        match_decoded(old, new)
        if decoded
        else match(old, new, any(type_name(r) in ONE_WIDTH for r in main))
    )
    used = sorted({matched[i] for i in read})
    if decoded:
        used = list(range(used[0], len(new)))
    plan = Plan(
        used, maps=[new[j] for j in used], new_indices={i: used.index(matched[i]) for i in read}
    )
    if not (decoded or exact or outputs.tokens):
        return plan

    low, high = DECODER_WIDTHS
    width = min(high, max(low, *(old[i].channels for i in read))) if decoded else None
    sources = [plan.new_indices[i] for i in read]
    # the decode head's norm, also for the adapter's convolutions
    norm_cfg = next((dict(r['norm_cfg']) for r in main if r.get('norm_cfg')), None)
    plan.neck = adapter(
        plan.maps,
        sources,
        top_down=width,
        strides=[old[i].stride for i in read] if exact else None,
        channels=[old[i].channels for i in read] if exact == 'maps' else None,
        tokens=outputs.tokens,
        eval_out=outputs.eval_out,
        norm_cfg=norm_cfg if decoded or exact == 'maps' else None,
    )
    plan.maps = [
        Level(
            old[i].channels if exact == 'maps' else width or plan.maps[source].channels,
            old[i].stride if exact else plan.maps[source].stride,
        )
        for i, source in zip(read, sources)
    ]
    plan.new_indices = {i: place for place, i in enumerate(read)}
    return plan
