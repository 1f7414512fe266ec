"""BrainCog's Spikformer with the temporal interaction module (TIM).

There are two versions: with the thresholds in the code, and with those effective at run time.
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, UNUSED_NORMS, block_rules, isotropic_config
from mmbsa.converters.semm import CONSTANTS
from mmbsa.converters.spikformer import TOKENIZER
from mmbsa.models.backbones import Spikformer

_TIM = [(r'\.attn\.TIM\.interactor\.', '.0.branch.attn.attn.q_neuron.1.interactor.')]


def _config(state: Mapping[str, Tensor], args: Mapping, official_quirks: bool) -> dict:
    """Return the config; ``TIM_alpha``, heads and map size come from ``args``.

    The map of tokens is that of the input.
    """
    cfg = isotropic_config(
        state,
        args,
        Spikformer,
        'tim-',
        'patch_embed.proj_conv.weight',
        'block.0.mlp.fc1_conv.weight',
    )
    tokens = len(state['block.0.attn.TIM.interactor.weight'])
    side = round(tokens**0.5)
    height, width = (
        args[key] // 16 if key in args else side for key in ('img_size_h', 'img_size_w')
    )
    if height * width != tokens:
        raise ValueError(
            f'tim_dvs: {tokens} tokens fit no map of {height} x {width}; give img_size_h and '
            'img_size_w'
        )
    cfg['backbone']['arch'].update(temporal=(height, width), alpha=args.get('TIM_alpha', 0.5))
    cfg['backbone'].update(
        official_quirks=official_quirks, num_steps=args.get('T', args.get('step', 10))
    )
    return cfg


for _source, _quirks in (('tim_dvs', False), ('tim_dvs_asrun', True)):
    register(
        _source,
        Recipe(
            partial(_config, official_quirks=_quirks),
            [*TOKENIZER, *block_rules(3, 1), *_TIM, *BLOCK_RULES],
            (*UNUSED_NORMS, *CONSTANTS),
        ),
    )
