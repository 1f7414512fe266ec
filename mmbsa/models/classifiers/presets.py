"""Published classifiers: the name of every preset of every family, its T, and the data it was trained on."""
import re
from collections.abc import Iterator
from dataclasses import dataclass

import mmbsa.models.backbones as backbones
from mmbsa.models.backbones import BaseSpikingBackbone

_IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CIFAR10 = dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
_CIFAR100 = dict(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
#: share of the shorter side that the evaluation on ImageNet keeps; the recipe of E-SpikeFormer large does not say, so this
#: is timm's default.
_CROP = dict(Spikformer=1.0, Spikingformer=1.0, QKFormer=224 / 256, SpikeDrivenTransformer=0.95, MetaSpikeFormer=224 / 256,
             ESpikeFormer=224 / 232, ESpikeFormerLarge=0.875, SpikingResformer=0.95)
#: families whose CIFAR recipes differ from Spikformer's, which takes the constants of CIFAR-10 for CIFAR-100 as well.
_CIFAR = dict(
    SpikeDrivenTransformer=dict(cifar10=_CIFAR10, cifar100=_CIFAR100),
    SpikingResformer=dict(cifar10=dict(mean=_CIFAR10['mean'], std=(0.2023, 0.1994, 0.2010)), cifar100=_CIFAR100))
#: presets for events: (T, height and width, data sets); the recipes use no mean and no standard deviation.
_EVENTS = {
    ('Spikformer', 'dvs-2-256'): (16, 128, ('cifar10dvs', 'dvs128')),
    ('Spikingformer', 'dvs-2-256'): (16, 128, ('cifar10dvs', 'dvs128')),
    ('QKFormer', 'dvs-2-256'): (16, 128, ('cifar10dvs',)),
    ('QKFormer', 'gesture-2-256'): (16, 128, ('dvs128',)),
    ('SpikeDrivenTransformer', 'cifar10dvs-2-256'): (10, 64, ('cifar10dvs',)),
    ('SpikeDrivenTransformer', 'dvs128-2-256'): (16, 128, ('dvs128',)),
    ('SpikingResformer', 'dvsg'): (16, 64, ('dvs128',)),
}
#: T of a family's images where it is not 4.
_STEPS = dict(ESpikeFormer=1, ESpikeFormerLarge=1)
_CLASSES = dict(in1k=1000, cifar10=10, cifar100=100, cifar10dvs=10, dvs128=11)


@dataclass(frozen=True)
class Preset:
    """A published classifier.

    Args:
        name: ``espikeformer_m``: family and arch in snake case, where every ``...former`` is one word.
        family: backbone class.
        arch: key of its ``arch_settings``.
        num_steps: T.
        data: data set -> ``num_classes``, ``input_size`` (C, H, W), ``mean``, ``std`` and ``crop_pct`` of its recipe; the
            first one is the default.
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


def _data(family: str, arch: str, channels: int) -> dict[str, dict]:
    """Recipes by data set."""
    if (family, arch) in _EVENTS:
        _, size, names = _EVENTS[family, arch]
        recipes = {name: dict(mean=(0.0,) * channels, std=(1.0,) * channels) for name in names}
        crop = 1.0
    elif arch.startswith('cifar'):
        size, crop = 32, 1.0
        recipes = _CIFAR.get(family, dict(cifar10=_CIFAR10, cifar100=_CIFAR10))
    else:
        size, crop, recipes = 224, _CROP[family], dict(in1k=_IMAGENET)
    return {name: dict(num_classes=_CLASSES[name], input_size=(channels, size, size), crop_pct=crop, **recipe)
            for name, recipe in recipes.items()}


def presets() -> Iterator[Preset]:
    """Every preset of every family, in the order of ``mmbsa.models.backbones`` and of ``arch_settings``."""
    for name in backbones.__all__:
        family = getattr(backbones, name)
        for arch, spec in getattr(family, 'arch_settings', {}).items():
            steps = _EVENTS[name, arch][0] if (name, arch) in _EVENTS else _STEPS.get(name, 4)
            yield Preset(preset_name(name, arch), family, arch, steps, _data(name, arch, spec.get('in_channels', 3)))
