"""Official Spikingformer (ImageNet, CIFAR-10/100, CIFAR10-DVS and DVS128 Gesture)."""

from functools import partial

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, UNUSED_NORMS, block_rules, isotropic_config
from mmbsa.models.backbones import Spikingformer


def _register(source: str, preset: str, tokenizer_names: list[str]) -> None:
    places = ('stem', *(f'stages.{n}.0' for n in range(4)))
    rules = [
        (rf'^patch_embed\.{name}_{kind}\.', f'backbone.{place}.{ours}.')
        for name, place in zip(tokenizer_names, places)
        for kind, ours in (('conv', 'conv'), ('bn', 'norm'))
    ]
    config = partial(
        isotropic_config,
        family=Spikingformer,
        preset=preset,
        first_conv=f'patch_embed.{tokenizer_names[0]}_conv.weight',
        hidden='block.0.mlp.mlp1_conv.weight',
    )
    register(source, Recipe(config, [*rules, *block_rules(3, 1), *BLOCK_RULES], UNUSED_NORMS))


_PROJ = ['proj', *(f'proj{n}' for n in range(1, 5))]
_register('spikingformer_imagenet', '', _PROJ)
_register('spikingformer_cifar', 'cifar-', [f'block{n}' for n in range(5)])
_register('spikingformer_dvs', 'dvs-', _PROJ)
