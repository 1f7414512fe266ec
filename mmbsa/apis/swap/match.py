"""Which level of a spiking backbone stands for which map of the replaced one: pure functions on
levels."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from math import log2

from mmbsa.apis.swap.level import Level

#: cost, in octaves of stride, of giving two maps the same level; just above one octave, so that the
#: stages of a dilated network (strides 4, 8, 8, 8) stay different stages (4, 8, 16, 16) instead of
#: collapsing onto one stride-8 level.
SHARED = 1.01


def nest(strides: Sequence[int], new_strides: Sequence[int], to_last: bool = True) -> list[int]:
    """Levels for maps sorted from shallow to deep: in order, nearest in stride, deeper where two
    are equally near.

    Args:
        strides: of the maps, shallow to deep.
        new_strides: of the new backbone's levels, fine to coarse.
        to_last: the last map always gets the last level, whatever its stride: a head's deepest
            input must hold what the whole backbone has computed.

    Returns:
        One index into ``new_strides`` per map, ascending.
    """
    last = len(new_strides) - 1

    def cost(levels: tuple[int, ...]) -> tuple[float, ...]:
        octaves = sum(abs(log2(s / new_strides[j])) for s, j in zip(strides, levels))
        shared = sum(a == b for a, b in zip(levels, levels[1:]))
        return (octaves + SHARED * shared, *(-j for j in levels))

    options = combinations_with_replacement(range(last + 1), len(strides))
    return list(min((o for o in options if o[-1] == last or not to_last), key=cost))


def same_shape(levels: Sequence[Level]) -> bool:
    """Whether several maps all have one shape, as those of a plain vision transformer."""
    return len(levels) > 1 and len({(level.stride, level.channels) for level in levels}) == 1


def match(old: Sequence[Level], new: Sequence[Level], one_width: bool = False) -> list[int]:
    """Level for each map of a backbone that is a pyramid or a column.

    Maps of one shape are interchangeable for their consumers (which add them, or give each its own
    scale), so they get levels of one shape: those that share the last level's stride, from shallow
    to deep.

    Args:
        old: maps of the replaced backbone, in the order it returns them.
        new: levels of the new backbone, fine to coarse.
        one_width: the consumer takes a single number of channels for all maps; same-shaped maps
            then share the last level.

    Returns:
        One index into ``new`` per map.
    """
    if same_shape(old):
        deep = [j for j, level in enumerate(new) if level.stride == new[-1].stride]
        deep = deep[-1:] if one_width else deep
        return [deep[i * len(deep) // len(old)] for i in range(len(old))]
    order = sorted(range(len(old)), key=lambda i: (old[i].stride, old[i].depth, i))
    levels = nest([old[i].stride for i in order], [level.stride for level in new])
    return [levels[order.index(i)] for i in range(len(old))]


def match_decoded(old: Sequence[Level], new: Sequence[Level]) -> list[int]:
    """Level of a feature pyramid for each map of a backbone that decodes by itself: by stride
    alone, as all are deep."""
    strides = sorted({level.stride for level in old})
    levels = dict(zip(strides, nest(strides, [level.stride for level in new], to_last=False)))
    return [levels[level.stride] for level in old]
