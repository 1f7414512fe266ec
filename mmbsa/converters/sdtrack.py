"""Official SDTrack (SDTrack-Event): tiny and base, and tiny with two and four time steps.

The sources ``sdtrack_*_backbone`` are for the official ImageNet checkpoints, which have no tracking
head. The converted file is for ``model.backbone.init_cfg``.
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import check_args, depth_of, tensor_of
from mmbsa.converters.metaformer import DOWN_RULES, STAGES

#: neurons of the official models: integer neurons at T = 1 and T = 2, binary ones at T = 4.
NEURONS = {
    1: dict(type='mmbsa.IntegerNode', levels=4),
    2: dict(type='mmbsa.IntegerNode', levels=2, decay=0.25),
    4: dict(
        type='mmbsa.LIFNode',
        tau=2.0,
        v_threshold=1.0,
        v_reset=0.0,
        detach_reset=True,
        surrogate_function=dict(type='Sigmoid', alpha=4.0),
    ),
}


def _backbone(part: Mapping[str, Tensor], args: dict, num_steps: int) -> dict:
    """Return the config of the backbone: sizes from shapes, the number of heads from ``args``."""
    names = ('1_2', '2', '3', '4')
    dims = tuple(
        len(tensor_of(part, f'downsample{name}.encode_conv.weight', 'SDTrack')) for name in names
    )
    check_args(
        'SDTrack',
        {key: tuple(value) for key, value in args.items() if key == 'embed_dim'},
        embed_dim=dims,
    )
    values = (
        'block3.0.attn.v_conv.0.weight'
        if 'block3.0.attn.v_conv.0.weight' in part
        else 'block3.0.attn.v_conv.weight'
    )
    arch = dict(
        embed_dims=dims,
        depths=tuple(depth_of(part, f'block{stage}') for stage in (3, 4)),
        num_heads=args.get('num_heads', 16 if dims[-1] == 768 else 8),
        mlp_ratio=len(tensor_of(part, 'block3.0.mlp.fc1_conv.weight', 'SDTrack')) // dims[2],
        value_ratio=len(tensor_of(part, values, 'SDTrack')) // dims[2],
        with_conv=False,
    )
    in_pixels = tensor_of(part, 'downsample1_1.encode_conv.weight', 'SDTrack').shape[1]
    return dict(
        type='mmbsa.ESpikeFormer',
        arch=arch,
        num_steps=num_steps,
        in_channels=in_pixels,
        neuron=NEURONS[num_steps],
    )


def _config(state: Mapping[str, Tensor], args: dict, num_steps: int) -> dict:
    """Return the config of the tracker."""
    head = args.get('head', {})
    part = {
        key.removeprefix('backbone.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    backbone = _backbone(part, args.get('backbone', {}), num_steps)
    first = (
        'box_head.conv1_ctr.1.weight'
        if 'box_head.conv1_ctr.1.weight' in state
        else 'box_head.conv1_ctr.conv.weight'
    )
    channels, in_channels = tensor_of(state, first, 'SDTrack').shape[:2]
    check_args(
        'SDTrack',
        {key: head[key] for key in ('inplanes', 'channel') if key in head},
        inplanes=in_channels,
        channel=channels,
    )
    return dict(
        type='mmbsa.SDTrack',
        crops=dict(official_quirks=True),
        backbone=backbone,
        head=dict(type='mmbsa.CentreHead', channels=channels),
    )


#: rules for the layers of the backbone, after those for the names of its stages.
_LAYERS = [
    *DOWN_RULES,
    # separable convolutions of the conv blocks, as sequences (T = 1) or with separate norms
    *(
        (rf'\.Conv\.{name}\.{i}\.', f'.0.branch.{n}.{kind}.')
        for n, name in enumerate(('pwconv1', 'dwconv', 'pwconv2'))
        for i, kind in enumerate(('conv', 'norm'))
    ),
    *(
        (rf'\.Conv\.{name}\.', f'.0.branch.{n}.{kind}.')
        for n, pair in enumerate((('pwconv1', 'bn1'), ('dwconv', 'bn2'), ('pwconv2', 'bn3')))
        for name, kind in zip(pair, ('conv', 'norm'))
    ),
    *(
        (rf'(stages\.[012]\.\d+)\.{name}{n + 1}\.', rf'\1.1.branch.{n}.{kind}.')
        for n in (0, 1)
        for name, kind in (('conv', 'conv'), ('bn', 'norm'))
    ),
    # blocks of attention and MLP, without a separable convolution before them
    *(
        (rf'\.attn\.{name}_{old}', f'.0.branch.{name}.{kind}.')
        for name in ('q', 'k', 'v', 'proj')
        for old, kind in (
            (r'conv\.0\.', 'conv'),
            (r'conv\.1\.', 'norm'),
            (r'conv\.', 'conv'),
            (r'BN\.', 'norm'),
        )
    ),
    *(
        (rf'\.mlp\.fc{n + 1}_{name}\.', f'.1.branch.{n}.{kind}.')
        for n in (0, 1)
        for name, kind in (('conv', 'conv'), ('bn', 'norm'))
    ),
]
_HEAD = [
    # unit j of a branch is (neuron, conv, norm) by number or by name
    *(
        (
            rf'^box_head\.conv{j + 1}_{old}\.(?:{i}|{name})\.',
            f'head.branches.{new}.units.{j}.{kind}.',
        )
        for old, new in (('ctr', 'score'), ('offset', 'offset'), ('size', 'size'))
        for j in range(4)
        for i, name, kind in ((1, 'conv', 'conv'), (2, 'bn', 'norm'))
    ),
    *(
        (rf'^box_head\.conv5_{old}\.', f'head.branches.{new}.conv.')
        for old, new in (('ctr', 'score'), ('offset', 'offset'), ('size', 'size'))
    ),
]

for _name, _steps in (
    ('sdtrack_tiny', 1),
    ('sdtrack_base', 1),
    ('sdtrack_tiny_T2D2', 2),
    ('sdtrack_tiny_T4D1', 4),
):
    register(
        _name,
        Recipe(
            partial(_config, num_steps=_steps),
            [*((rf'(?<=^backbone\.){old}', new) for old, new in STAGES), *_LAYERS, *_HEAD],
            unused=[r'^backbone\.head\.'],
        ),
    )
    register(
        f'{_name}_backbone',
        Recipe(
            partial(_backbone, num_steps=_steps),
            [*((rf'^{old}', new) for old, new in STAGES), *_LAYERS],
            unused=[r'^head\.'],
        ),
    )
