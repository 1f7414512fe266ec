"""STEP's Spikformer with a mixture of spiking experts (SEMM): CIFAR and ImageNet.

The CIFAR model exists in a corrected version and as STEP runs it.
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, block_rules, isotropic_config
from mmbsa.converters.spikformer import TOKENIZER
from mmbsa.models.backbones import Spikformer

_EXPERTS = [
    *(
        (rf'\.attn\.ff_list\.(\d+)\.unit_{kind}\.', rf'.0.branch.q.\1.{ours}.')
        for kind, ours in (('(?:conv|linear)', 'conv'), ('bn', 'norm'))
    ),
    *(
        (rf'\.attn\.router{n}\.', f'.0.branch.gate.{ours}.')
        for n, ours in ((1, 'conv'), (2, 'norm'))
    ),
    *(
        (rf'\.mlp\.{name}_{kind}\.', f'.1.branch.{new}.{ours}.')
        for name, new in (('fc1', 'fc1'), ('dw', 'depthwise'), ('fc2', 'fc2'))
        for kind, ours in (('(?:conv|linear)', 'conv'), ('bn', 'norm'))
    ),
]
#: constants of BrainCog's neurons.
CONSTANTS = (r'\.threshold$', r'\.act_fun\.alpha$')


def _config(
    state: Mapping[str, Tensor], args: Mapping, images: bool, official_quirks: bool
) -> dict:
    """Return the config: experts and their width from shapes, ``attn_scale`` from ``args``."""
    kind = 'conv' if images else 'linear'
    args = dict(args, num_heads=1)  # experts replace heads
    if not images:
        args['embed_dims'] = args.pop('embed_dim', None) or state['head.weight'].shape[1]
    cfg = isotropic_config(
        state,
        args,
        Spikformer,
        'semm-' if images else 'semm-cifar-',
        'patch_embed.proj_conv.weight',
        f'block.0.mlp.fc1_{kind}.weight',
    )
    hidden = len(state[f'block.0.mlp.fc1_{kind}.weight'])
    cfg['backbone']['arch'].update(
        experts=len(state['block.0.attn.router1.weight']),
        expert_dims=len(state[f'block.0.attn.k_{kind}.weight']),
        scale=args.get('attn_scale', 0.125),
        mlp_ratio=hidden / state['head.weight'].shape[1],
    )
    cfg['backbone'].update(
        official_quirks=official_quirks, num_steps=args.get('T', args.get('step', 4))
    )
    return cfg


for _source, _images, _quirks in (
    ('cifar', False, False),
    ('cifar_step', False, True),
    ('imagenet', True, False),
):
    register(
        f'spikf_semm_{_source}',
        Recipe(
            partial(_config, images=_images, official_quirks=_quirks),
            [*TOKENIZER, *block_rules(3, 1), *_EXPERTS, *BLOCK_RULES],
            CONSTANTS,
        ),
    )
