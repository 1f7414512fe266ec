"""Published classifiers: the name of every preset of every family, its T, and the data it was
trained on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.registry import MODELS


@dataclass(frozen=True)
class Preset:
    """A published classifier.

    Args:
        name: ``espikeformer_m``: family and arch in snake case, where every ``...former`` is one
            word.
        family: backbone class.
        arch: key of its ``arch_settings``.
        num_steps: T.
        data: data set -> ``num_classes``, ``input_size`` (C, H, W), ``mean``, ``std`` and
            ``crop_pct`` of its recipe; the first one is the default.
    """

    name: str
    family: type[BaseSpikingBackbone]
    arch: str
    num_steps: int
    data: dict[str, dict]


def preset_name(family: str, arch: str) -> str:
    """``('MetaSpikeFormer', '8-512')`` -> ``'meta_spikeformer_8_512'``."""
    words = re.sub(r'(?<=[a-z])(?=[A-Z])(?!Former|Resformer)', '_', family)
    return f'{words}_{arch}'.lower().replace('-', '_')


def presets(family: type[BaseSpikingBackbone] | None = None) -> Iterator[Preset]:
    """Every preset of a family, in the order of ``arch_settings``; None means of every registered
    family."""
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
