"""Feature maps that decode heads read, and updates of their configs when the maps change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.registry import MODELS
from mmbsa.utils.types import type_name

#: Heads that require more than channels: 'strides' or 'maps' (strides and channels) must not
#: change.
EXACT = {
    'LRASPPHead': ('strides', {}),  # pools 49 x 49 windows, which do not fit into a coarser map
    'VPDDepthHead': (
        'maps',
        {'fmap_border': 0},
    ),  # adds maps at fixed ratios; the border is the padding of its backbone
}
#: Modules that have one width for all maps, and the key of this width.
ONE_WIDTH = {'Feature2Pyramid': 'embed_dim', 'DPTHead': 'embed_dims'}
#: Heads that need inputs other than maps, with the reason.
REFUSED = {
    'SideAdapterCLIPHead': "it reads CLIP's image tokens and text embeddings, not feature maps",
}


def head_list(model: dict, key: str) -> list[dict]:
    """Return the configs under ``decode_head`` or ``auxiliary_head``: none, one or several.

    Args:
        model: config of the model.
        key: ``'decode_head'`` or ``'auxiliary_head'``.
    """
    heads = model.get(key) or []
    return list(heads) if isinstance(heads, (list, tuple)) else [heads]


def reads_time(head: dict) -> bool:
    """Return whether a head is an mmbsa head that takes time-major maps."""
    kind = head.get('type')
    cls = MODELS.module_dict.get(type_name(kind)) if isinstance(kind, str) else kind
    return getattr(cls, 'reads_time', False)


def input_parts(head: dict) -> list[dict]:
    """Return the modules of a head that read maps: the head, or its nested heads (K-Net)."""
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
    """Heads of a model, and the modules in them that read feature maps.

    Attributes:
        heads: configs of all heads.
        main: parts of the decode heads.
        auxiliary: parts of the auxiliary heads.
    """

    heads: tuple[dict, ...]
    main: tuple[dict, ...]
    auxiliary: tuple[dict, ...]

    @property
    def parts(self) -> tuple[dict, ...]:
        """All parts that read maps, with those of the decode heads first."""
        return self.main + self.auxiliary


def consumers(model: dict) -> Consumers:
    """Return the heads of a model's config and the parts that read maps, which are not copied."""
    main, auxiliary = head_list(model, 'decode_head'), head_list(model, 'auxiliary_head')
    return Consumers(
        (*main, *auxiliary),
        tuple(part for head in main for part in input_parts(head)),
        tuple(part for head in auxiliary for part in input_parts(head)),
    )


def input_indices(part: dict, number: int) -> list[int]:
    """Return the indices of the maps that a head reads, in the order of the head.

    Args:
        part: config from :func:`input_parts`.
        number: number of maps.

    Raises:
        SwapError: the head has no in_channels, or reads a map that does not exist.
    """
    name, channels, index = type_name(part), part.get('in_channels'), part.get('in_index')
    if channels is None:
        raise SwapError(f'{name} has no in_channels, so the maps that it reads are unknown')
    if index is None:
        index = list(range(number)) if isinstance(channels, (list, tuple)) else -1
    index = list(index) if isinstance(index, (list, tuple)) else [index]
    if any(not -number <= i < number for i in index):
        raise SwapError(f'{name} reads in_index={index}, but there are {number} maps')
    return [i % number for i in index]


def default_indices(part: dict) -> list[int]:
    """Return the indices of maps that a head reads without ``in_index`` (DeepLabV3+)."""
    return [0] if part.get('c1_in_channels') else []


def _like(old: Any, values: Sequence[int]) -> Any:
    """Return values in the container type of the old ones; a number stays a number."""
    return type(old)(values) if isinstance(old, (list, tuple)) else values[0]


def _total(channels: Any) -> int:
    return sum(channels) if isinstance(channels, (list, tuple)) else channels


def rewrite_inputs(
    part: dict,
    maps: Sequence[Level],
    new_indices: dict[int, int],
    number: int,
    old: Sequence[Level] | None = None,
) -> None:
    """Update, in place, all entries of a head's config that depend on the maps it reads.

    Args:
        part: config from :func:`input_parts`.
        maps: the new maps.
        new_indices: old position -> index of the new map.
        number: number of old maps.
        old: the old maps if known, for values that scale with the stride; None by default.

    Raises:
        SwapError: the head cannot read the new maps.
    """
    where = input_indices(part, number)
    new = [maps[new_indices[i]] for i in where]
    before = part['in_channels']
    part['in_channels'] = _like(before, [level.channels for level in new])
    indices = [new_indices[i] for i in where]
    if 'in_index' in part:
        part['in_index'] = _like(part['in_index'], indices)
    elif isinstance(before, (list, tuple)):
        if indices != list(range(len(maps))):
            raise SwapError(
                f'{type_name(part)} reads all maps in order, and the new maps are not in order'
            )
    elif indices != [len(maps) - 1]:
        part['in_index'] = indices[0]
    if default_indices(part):
        if new_indices[0] != 0:
            raise SwapError(
                f'{type_name(part)} reads the first map as c1, which is not the finest map here'
            )
        part['c1_in_channels'] = maps[0].channels
    for key in ('feature_strides', 'strides'):
        if isinstance(part.get(key), (list, tuple)) and len(part[key]) == len(new):
            part[key] = _like(part[key], [level.stride for level in new])
    width = ONE_WIDTH.get(type_name(part))
    if width:
        part[width] = new[0].channels
    if part.get('num_convs') == 0 and part.get('channels') == _total(before):
        part['channels'] = _total(
            part['in_channels']
        )  # without convolutions they are the same maps
    if 'mask_size' in part and old is not None:
        ratio = new[0].stride / old[where[0]].stride  # PSANet's window covers the whole map
        part['mask_size'] = _like(
            part['mask_size'], [max(1, round((m - 1) / ratio) + 1) for m in part['mask_size']]
        )
