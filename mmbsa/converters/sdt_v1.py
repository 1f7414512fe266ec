"""Official Spike-driven Transformer V1: ImageNet, CIFAR-10/100, DVS128 Gesture, CIFAR10-DVS."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, block_rules, isotropic_config
from mmbsa.models.backbones import SpikeDrivenTransformer

#: official names of the tokenizer's neurons -> units in mmbsa; only parametric neurons have
#: tensors.
_NEURONS = [
    *((rf'^patch_embed\.proj_lif{i or ""}\.', f'backbone.stages.{i}.0.neuron.') for i in range(3)),
    (r'^patch_embed\.proj_lif3\.', 'backbone.stages.3.0.1.branch.neuron.'),
    (r'\.attn\.shortcut_lif\.', '.0.branch.neuron.'),
    *((rf'\.attn\.{name}_lif\.', f'.0.branch.attn.{name}_neuron.') for name in ('q', 'k', 'v')),
    (r'\.attn\.talking_heads_lif\.', '.0.branch.attn.out_neuron.'),
    *((rf'\.mlp\.fc{n + 1}_lif\.', f'.1.branch.{n}.neuron.') for n in (0, 1)),
    (r'^head_lif\.', 'neuron.'),
]
_TOKENIZER = [
    (r'^patch_embed\.proj_conv\.', 'backbone.stem.conv.'),
    (r'^patch_embed\.proj_bn\.', 'backbone.stem.norm.'),
    *(
        (rf'^patch_embed\.proj_{kind}{n + 1}\.', f'backbone.stages.{n}.0.{ours}.')
        for n in range(3)
        for kind, ours in (('conv', 'conv'), ('bn', 'norm'))
    ),
    *(
        (rf'^patch_embed\.rpe_{kind}\.', f'backbone.stages.3.0.1.branch.{ours}.')
        for kind, ours in (('conv', 'conv'), ('bn', 'norm'))
    ),
]
_RULES = [*_TOKENIZER, *block_rules(3, 1), *_NEURONS, *BLOCK_RULES]
#: tensors that the official forward never uses.
_UNUSED = (r'\.talking_heads\.', r'\.attn_lif\.', r'\.rpe_lif\.')


def _config(state: Mapping[str, Tensor], args: Mapping, events: bool) -> dict:
    """Return the config.

    The arguments ``pooling_stat``, ``dvs_mode``, ``TET`` and ``T`` of the official constructor do
    not follow from tensors.
    """
    preset = 'cifar10dvs-' if events else ''
    cfg = isotropic_config(
        state,
        args,
        SpikeDrivenTransformer,
        preset,
        'patch_embed.proj_conv.weight',
        'block.0.mlp.fc1_conv.weight',
    )
    backbone = cfg['backbone']
    backbone['arch'].update(
        pooling=args.get('pooling_stat', '0011' if events else '1111'),
        dilate=args.get('dvs_mode', events),
    )
    parametric = 'head_lif.w' in state
    if args.get('spike_mode', 'plif' if parametric else 'lif') != ('plif' if parametric else 'lif'):
        raise ValueError(
            f'spike_mode={args["spike_mode"]!r} does not fit the tensors of this '
            'SpikeDrivenTransformer: '
            f'neurons with parameters are {"present" if parametric else "absent"}'
        )
    neuron = dict(type='mmbsa.LIFNode', tau=2.0)
    if parametric:
        neuron = dict(type='mmbsa.ParametricLIFNode', init_tau=2.0)
    neuron.update(detach_reset=True, surrogate_function=dict(type='Sigmoid', alpha=4.0))
    backbone.update(neuron=neuron, official_quirks=True)
    return dict(cfg, per_step=args.get('TET', False))


def _images(state: Mapping[str, Tensor], args: Mapping) -> dict:
    return _config(state, args, events=False)


def _events(state: Mapping[str, Tensor], args: Mapping) -> dict:
    return _config(state, args, events=True)


register('sdt_v1', Recipe(_images, _RULES, _UNUSED))
register('sdt_v1_dvs', Recipe(_events, _RULES, _UNUSED))
