"""Official SWFormer: CIFAR, events and ImageNet."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, block_rules, check_args, depth_of, tensor_of
from mmbsa.converters.spikformer import TOKENIZER
from mmbsa.models.backbones import SWFormer

#: official names of the mixer (``haar_bn`` is ImageNet's ``haar_multiply_bn``) -> names in mmbsa.
_MIXER = [
    (rf'\.(?:mixer|attn)\.{official}(?=[.]|$)', f'.0.branch.{ours}')
    for official, ours in (
        ('haar_weight', 'weights.module.weight'),
        ('haar_forward_bn', 'coefficients.norm'),
        ('haar_(?:multiply_)?bn', 'weights.norm'),
        ('haar_inverse_bn', 'restored.norm'),
        ('conv1', 'pointwise.module'),
        ('conv1_bn', 'pointwise.norm'),
        ('conv2', 'local.module'),
        ('conv2_bn', 'local.norm'),
    )
]
_RULES = [*TOKENIZER, *block_rules(3, 1), *_MIXER, *BLOCK_RULES]
#: arch of the source, for values that do not follow from tensors and arguments.
_ARCH = dict(
    cifar=dict(pooling='0011'),
    dvs=dict(in_series=True),
    imagenet=dict(head_neuron=True, inner_shortcut=True),
)


def _config(state: Mapping[str, Tensor], args: Mapping, data: str) -> dict:
    """Return the config; ``pooling_stat`` and ``haar_vth`` come from ``args``."""
    dims, depth = tensor_of(state, 'head.weight', 'SWFormer').shape[1], depth_of(state, 'block')
    mixer = 'attn' if data == 'imagenet' else 'mixer'
    groups = len(tensor_of(state, f'block.0.{mixer}.haar_weight', 'SWFormer'))
    check_args('SWFormer', args, embed_dims=dims, depths=depth, FL_blocks=groups)
    arch = dict(
        _ARCH[data],
        embed_dims=dims,
        depth=depth,
        groups=groups,
        mlp_ratio=len(state['block.0.mlp.fc1_conv.weight']) / dims,
    )
    if data == 'imagenet':
        arch.update(
            pooling=args.get('pooling_stat', '1111'), haar_threshold=args.get('haar_vth', 1.0)
        )
    return SWFormer.classifier_cfg(
        arch,
        len(state['head.weight']),
        per_step=data == 'dvs',
        num_steps=args.get('T', 4),
        in_channels=state['patch_embed.proj_conv.weight'].shape[1],
    )


for _data in _ARCH:
    register(f'swformer_{_data}', Recipe(partial(_config, data=_data), _RULES))
