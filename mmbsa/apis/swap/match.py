"""Matching of the levels of a spiking backbone with the maps of the replaced backbone."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from math import log2

from mmbsa.apis.swap.level import Level

#: cost, in octaves of stride, of one level for two maps. It is just above one octave, so that the
#: stages of a dilated network (strides 4, 8, 8, 8) map to different stages (4, 8, 16, 16) and not
#: to one level of stride 8.
SHARED = 1.01


def match_strides(
    strides: Sequence[int], new_strides: Sequence[int], to_last: bool = True
) -> list[int]:
    """Return levels for maps from shallow to deep: in order, nearest in stride, deeper if equal.

    Args:
        strides: strides of the maps, shallow to deep.
        new_strides: strides of the new backbone's levels, fine to coarse.
        to_last: whether the last map always gets the last level, whatever its stride, because the
            deepest input of a head must contain the output of the whole backbone; True by default.

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
    """Return whether several maps all have one shape, as in a plain vision transformer."""
    return len(levels) > 1 and len({(level.stride, level.channels) for level in levels}) == 1


def match(old: Sequence[Level], new: Sequence[Level], one_width: bool = False) -> list[int]:
    """Return a level for each map of a backbone whose maps are a pyramid or have one shape.

    Maps of one shape are interchangeable for their consumers (which add or rescale them), so they
    get levels of one shape: the levels with the last level's stride, from shallow to deep.

    Args:
        old: maps of the replaced backbone, in the order of its outputs.
        new: levels of the new backbone, fine to coarse.
        one_width: whether the consumer has a single number of channels for all maps; maps of one
            shape then all get the last level. False by default.

    Returns:
        One index into ``new`` per map.
    """
    if same_shape(old):
        deep = [j for j, level in enumerate(new) if level.stride == new[-1].stride]
        deep = deep[-1:] if one_width else deep
        return [deep[i * len(deep) // len(old)] for i in range(len(old))]
    order = sorted(range(len(old)), key=lambda i: (old[i].stride, old[i].depth, i))
    levels = match_strides([old[i].stride for i in order], [level.stride for level in new])
    return [levels[order.index(i)] for i in range(len(old))]


def match_decoded(old: Sequence[Level], new: Sequence[Level]) -> list[int]:
    """Return the level of a feature pyramid for each map of a backbone that decodes its maps.

    Only the stride decides, because all these maps are deep.

    Args:
        old: maps of the replaced backbone.
        new: levels of the new backbone, fine to coarse.
    """
    strides = sorted({level.stride for level in old})
    levels = dict(
        zip(strides, match_strides(strides, [level.stride for level in new], to_last=False))
    )
    return [levels[level.stride] for level in old]
