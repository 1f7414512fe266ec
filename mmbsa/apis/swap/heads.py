"""How decode heads read feature maps, and how their configs follow when the maps change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.registry import MODELS
from mmbsa.utils.types import type_name

#: Heads whose layers fix more about their maps than channels; 'strides' or 'maps' (strides and
#: channels) must be as before.
EXACT = {
    'LRASPPHead': ('strides', {}),  # pools 49 x 49 windows, for which a coarser map is too small
    'VPDDepthHead': (
        'maps',
        {'fmap_border': 0},
    ),  # adds maps at fixed ratios; the border is what its backbone had padded
}
#: Parts that take one width for all maps, and the key that holds it.
ONE_WIDTH = {'Feature2Pyramid': 'embed_dim', 'DPTHead': 'embed_dims'}
#: Heads that need what no map can give.
REFUSED = {
    'SideAdapterCLIPHead': "it reads CLIP's image tokens and text embeddings, not feature maps",
}


def head_list(model: dict, key: str) -> list[dict]:
    """The configs under ``decode_head`` or ``auxiliary_head``: none, one or several."""
    heads = model.get(key) or []
    return list(heads) if isinstance(heads, (list, tuple)) else [heads]


def reads_time(head: dict) -> bool:
    """Whether a head is one of ours that takes time-major maps."""
    kind = head.get('type')
    cls = MODELS.module_dict.get(type_name(kind)) if isinstance(kind, str) else kind
    return getattr(cls, 'reads_time', False)


def readers(head: dict) -> list[dict]:
    """The parts of a head that read the backbone's maps: the head itself, or heads nested in it
    (K-Net's)."""
    if 'in_channels' in head or 'in_index' in head:
        return [head]
    nested = [
        value
        for value in head.values()
        if isinstance(value, dict)
        and 'in_channels' in value
        and ('in_index' in value or 'input_transform' in value)
    ]
    return nested or [head]


@dataclass(frozen=True)
class Consumers:
    """The heads of a model and what in them reads feature maps, parsed once.

    Attributes:
        heads: configs of all heads.
        main: readers of the decode heads.
        auxiliary: readers of the auxiliary heads.
    """

    heads: tuple[dict, ...]
    main: tuple[dict, ...]
    auxiliary: tuple[dict, ...]

    @property
    def readers(self) -> tuple[dict, ...]:
        """All readers, those of the decode heads first."""
        return self.main + self.auxiliary


def consumers(model: dict) -> Consumers:
    """Parse the heads of a model's config; the readers are parts of it, not copies."""
    main, auxiliary = head_list(model, 'decode_head'), head_list(model, 'auxiliary_head')
    return Consumers(
        (*main, *auxiliary),
        tuple(reader for head in main for reader in readers(head)),
        tuple(reader for head in auxiliary for reader in readers(head)),
    )


def positions(reader: dict, number: int) -> list[int]:
    """Positions of the maps that a head reads, out of ``number``, in the head's order.

    Raises:
        SwapError: the head names no in_channels, or reads a map that is not there.
    """
    name, channels, index = type_name(reader), reader.get('in_channels'), reader.get('in_index')
    if channels is None:
        raise SwapError(f'{name} names no in_channels, so what it reads is unknown')
    if index is None:
        index = list(range(number)) if isinstance(channels, (list, tuple)) else -1
    index = list(index) if isinstance(index, (list, tuple)) else [index]
    if any(not -number <= i < number for i in index):
        raise SwapError(f'{name} reads in_index={index}, but there are {number} maps')
    return [i % number for i in index]


def implicit_positions(reader: dict) -> list[int]:
    """Positions read without ``in_index``: DeepLabV3+ takes the first map for its decoder."""
    return [0] if reader.get('c1_in_channels') else []


def _like(old: Any, values: Sequence[int]) -> Any:
    """Values in the container of the old ones; a plain number for a plain number."""
    return type(old)(values) if isinstance(old, (list, tuple)) else values[0]


def _total(channels: Any) -> int:
    return sum(channels) if isinstance(channels, (list, tuple)) else channels


def rewrite_reader(
    reader: dict,
    maps: Sequence[Level],
    places: dict[int, int],
    number: int,
    old: Sequence[Level] | None = None,
) -> None:
    """Fix, in place, everything in a head's config that depends on the maps it reads.

    Args:
        reader: config that :func:`readers` returned.
        maps: the new maps.
        places: old position -> position among the new maps.
        number: how many maps there were.
        old: the old maps, where known, for values that scale with stride.
    """
    where = positions(reader, number)
    new = [maps[places[i]] for i in where]
    before = reader['in_channels']
    reader['in_channels'] = _like(before, [level.channels for level in new])
    indices = [places[i] for i in where]
    if 'in_index' in reader:
        reader['in_index'] = _like(reader['in_index'], indices)
    elif isinstance(before, (list, tuple)):
        if indices != list(range(len(maps))):
            raise SwapError(
                f'{type_name(reader)} reads all maps in order, which the new ones are not'
            )
    elif indices != [len(maps) - 1]:
        reader['in_index'] = indices[0]
    if implicit_positions(reader):
        if places[0] != 0:
            raise SwapError(
                f'{type_name(reader)} reads the first map for c1, which is not the finest one here'
            )
        reader['c1_in_channels'] = maps[0].channels
    for key in ('feature_strides', 'strides'):
        if isinstance(reader.get(key), (list, tuple)) and len(reader[key]) == len(new):
            reader[key] = _like(reader[key], [level.stride for level in new])
    width = ONE_WIDTH.get(type_name(reader))
    if width:
        reader[width] = new[0].channels
    if reader.get('num_convs') == 0 and reader.get('channels') == _total(before):
        reader['channels'] = _total(
            reader['in_channels']
        )  # without convolutions they are the same maps
    if 'mask_size' in reader and old is not None:
        ratio = new[0].stride / old[where[0]].stride  # PSANet's window spans the map
        reader['mask_size'] = _like(
            reader['mask_size'], [max(1, round((m - 1) / ratio) + 1) for m in reader['mask_size']]
        )
