"""Official Spikformer (ImageNet, CIFAR-10/100, CIFAR10-DVS and DVS128 Gesture)."""

from functools import partial

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, UNUSED_NORMS, block_rules, isotropic_config
from mmbsa.models.backbones import Spikformer

TOKENIZER = [
    (r'^patch_embed\.proj_conv\.', 'backbone.stem.conv.'),
    (r'^patch_embed\.proj_bn\.', 'backbone.stem.norm.'),
    *(
        (rf'^patch_embed\.proj_{kind}{n + 1}\.', f'backbone.stages.{n}.0.{ours}.')
        for n in range(3)
        for kind, ours in (('conv', 'conv'), ('bn', 'norm'))
    ),
    (r'^patch_embed\.rpe_conv\.', 'backbone.stages.3.0.1.branch.conv.'),
    (r'^patch_embed\.rpe_bn\.', 'backbone.stages.3.0.1.branch.norm.'),
]


def _register(source: str, preset: str, mlp: str, unused: tuple[str, ...] = ()) -> None:
    config = partial(
        isotropic_config,
        family=Spikformer,
        preset=preset,
        first_conv='patch_embed.proj_conv.weight',
        hidden=f'block.0.mlp.{mlp}.weight',
    )
    register(
        source,
        Recipe(config, [*TOKENIZER, *block_rules(3, 1), *BLOCK_RULES], (*UNUSED_NORMS, *unused)),
    )


_register('spikformer_imagenet', '', 'fc1_conv')
_register('spikformer_cifar', 'cifar-', 'fc1_linear')
_register('spikformer_dvs', 'dvs-', 'fc1_conv', (r'^pos_embed$', r'^norm\.'))
