"""Published classifiers: the name of every preset of every family, its T, and its training data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.registry import MODELS


@dataclass(frozen=True)
class Preset:
    """A published classifier: a family, an arch and its data sets.

    Args:
        name: name in snake case, for example ``espikeformer_m``: the family, in which every
            ``...former`` is one word, and the arch.
        family: class of the backbone.
        arch: a key of the family's ``arch_settings``.
        num_steps: T, the number of time steps.
        data: name of a data set -> ``num_classes``, ``input_size`` (C, H, W) in pixels, ``mean``,
            ``std`` and ``crop_pct`` of its recipe; the first one is the default.
    """

    name: str
    family: type[BaseSpikingBackbone]
    arch: str
    num_steps: int
    data: dict[str, dict]


def preset_name(family: str, arch: str) -> str:
    """Return the name of the preset ``arch`` of ``family``: ``('MetaSpikeFormer', '8-512')`` gives
    ``'meta_spikeformer_8_512'``."""
    words = re.sub(r'(?<=[a-z])(?=[A-Z])(?!Former|Resformer)', '_', family)
    return f'{words}_{arch}'.lower().replace('-', '_')


def presets(family: type[BaseSpikingBackbone] | None = None) -> Iterator[Preset]:
    """Yield every preset of a family in the order of ``arch_settings``; None (default) means all
    registered families."""
    if family is None:
        for cls in list(dict.fromkeys(MODELS.module_dict.values())):
            if isinstance(cls, type) and issubclass(cls, BaseSpikingBackbone):
                yield from presets(cls)
        return
    for arch, spec in family.arch_settings.items():
        recipe = family.recipe(arch)
        yield Preset(
            preset_name(family.__name__, arch),
            family,
            arch,
            recipe.num_steps,
            recipe.data({**family.defaults, **spec}.get('in_channels', 3)),
        )
