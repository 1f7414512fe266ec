"""Official SpikingResformer (ImageNet, CIFAR, DVS128 Gesture and transferred models)."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import check_args, tensor_of
from mmbsa.models.backbones import SpikingResformer

_NAME = 'SpikingResformer'
#: official names of the parts of DSSA, GWFFN and a downsampling -> names in mmbsa; `.w` is a tensor
#: of parametric neurons.
_PARTS = [
    (r'activation\.', 'neuron.'),
    (r'activation_in\.', 'branch.neuron.'),
    (r'activation_attn\.', 'branch.attn.score_neuron.'),
    (r'activation_out\.', 'branch.attn.out_neuron.'),
    (r'firing_rate_x$', 'branch.attn.query_rate.rate'),
    (r'firing_rate_attn$', 'branch.attn.score_rate.rate'),
    (r'W\.', 'branch.k.conv.'),
    (r'norm\.bn\.', 'branch.k.norm.'),
    (r'Wproj\.', 'branch.proj.conv.'),
    (r'norm_proj\.bn\.', 'branch.proj.norm.'),
    *(
        (rf'{name}\.{i}\.', f'branch.{place}.{part}.')
        for name, place in (('up', '0'), (r'conv\.0', '1.branch'), ('down', '2'))
        for i, part in ((0, 'neuron'), (1, 'conv'), (r'2\.bn', 'norm'))
    ),
]
_RULES = [
    (r'^classifier\.', 'head.'),
    (r'^prologue\.0\.', 'backbone.stem.conv.'),
    (r'^prologue\.1\.bn\.', 'backbone.stem.norm.'),
    # the first module of every stage but the first is the downsampling
    (r'^layers\.([1-9]\d*)\.0\.conv\.weight$', r'backbone.stages.\1.0.conv.weight'),
    (r'^layers\.([1-9]\d*)\.0\.norm\.bn\.', r'backbone.stages.\1.0.norm.'),
    *((rf'^layers\.(\d+)\.(\d+)\.{old}', rf'backbone.stages.\1.\2.{new}') for old, new in _PARTS),
]


def _config(state: Mapping[str, Tensor], args: Mapping) -> dict:
    """Return the config; ``T`` and ``img_size`` do not follow from tensors."""
    first = tensor_of(state, 'prologue.0.weight', _NAME)
    modules = [
        [
            key.removesuffix('.W.weight')
            for key in state
            if key.startswith(f'layers.{s}.') and key.endswith('.W.weight')
        ]
        for s in range(64)
    ]
    modules = [stage for stage in modules if stage]
    if any(
        list(stage) != ['DSSA', 'GWFFN'] * (len(stage) // 2) for stage in args.get('layers', ())
    ):
        raise ValueError(
            f"{_NAME}: layers={args['layers']} must repeat 'DSSA', 'GWFFN' in every stage"
        )
    widths = tuple(len(state[f'{stage[0]}.Wproj.weight']) for stage in modules)
    heads = tuple(tensor_of(state, f'{stage[0]}.firing_rate_x', _NAME).numel() for stage in modules)
    patches = tuple(state[f'{stage[0]}.W.weight'].shape[-1] for stage in modules)
    check_args(
        _NAME,
        {
            key: tuple(value)
            for key, value in args.items()
            if key in ('planes', 'num_heads', 'patch_sizes')
        },
        planes=widths,
        num_heads=heads,
        patch_sizes=patches,
    )
    index = int(modules[0][0].split('.')[-1]) + 1
    group_size = tensor_of(state, f'layers.0.{index}.conv.0.1.weight', _NAME).shape[1]
    large_stem = first.shape[-1] == 7
    neuron = dict(type='mmbsa.LIFNode', tau=2.0)
    if any(key.endswith('.activation_in.w') for key in state):
        neuron = dict(type='mmbsa.ParametricLIFNode', init_tau=2.0)
    neuron.update(detach_reset=True, surrogate_function=dict(type='ATan', alpha=2.0))
    arch = dict(
        embed_dims=widths,
        depths=tuple(map(len, modules)),
        num_heads=heads,
        patch_sizes=patches,
        group_size=group_size,
        stem='imagenet' if large_stem else '3x3',
    )
    return SpikingResformer.classifier_cfg(
        arch,
        len(tensor_of(state, 'classifier.weight', _NAME)),
        per_step=True,
        num_steps=args.get('T', 4),
        in_channels=first.shape[1],
        neuron=neuron,
        official_quirks=True,
        img_size=args.get('img_size', 224 if large_stem else 32),
    )


register('spikingresformer', Recipe(_config, _RULES))
