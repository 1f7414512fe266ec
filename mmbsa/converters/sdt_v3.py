"""Official Spike-driven Transformer V3, base model: classifier, backbone, whole segmentor."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.metaformer import DOWN_RULES, STAGES
from mmbsa.models.backbones import ESpikeFormer

UNITS = [
    *DOWN_RULES,
    # separable convolutions: `Conv` in ConvBlocks, `conv` in transformer blocks
    *(
        (rf'\.[Cc]onv\.{name}\.{i}\.', f'.0.branch.{n}.{kind}.')
        for n, name in enumerate(('pwconv1', 'dwconv', 'pwconv2'))
        for i, kind in enumerate(('conv', 'norm'))
    ),
    # the two 3x3 convolutions of a ConvBlock
    *(
        (rf'(stages\.[012]\.\d+)\.{name}{n + 1}\.', rf'\1.1.branch.{n}.{kind}.')
        for n in (0, 1)
        for name, kind in (('conv', 'conv'), ('bn', 'norm'))
    ),
    *(
        (rf'\.attn\.{name}_conv\.{i}\.', f'.1.branch.{name}.{kind}.')
        for name in ('q', 'k', 'v', 'proj')
        for i, kind in enumerate(('conv', 'norm'))
    ),
    *(
        (rf'\.mlp\.fc{n + 1}_{name}\.', f'.2.branch.{n}.{kind}.')
        for n in (0, 1)
        for name, kind in (('conv', 'conv'), ('bn', 'norm'))
    ),
    *((rf'\.layer_scale{n + 1}$', f'.{n}.scale') for n in range(3)),
]
#: rules for keys under `backbone.`, where the stage names begin.
_BACKBONE = [(rf'(?<=^backbone\.){pattern}', new) for pattern, new in STAGES] + UNITS


def backbone_args(state: Mapping[str, Tensor], args: dict, prefix: str = '') -> dict:
    """Return the arguments of the backbone; only the number of heads comes from ``args``.

    Args:
        state: official name -> tensor.
        args: arguments of the official model.
        prefix: prefix of the names of the backbone's tensors; empty by default.
    """

    def shape(key):
        if prefix + key not in state:
            raise KeyError(
                f'no tensor {prefix + key!r}: is this a state dict of the SDT-V3 base model?'
            )
        return state[prefix + key].shape

    dims = tuple(shape(f'downsample{n}.encode_conv.weight')[0] for n in ('1_2', '2', '3', '4'))
    given = args.get('embed_dim')
    if given is not None and tuple(given) != dims:
        raise ValueError(
            f'embed_dim={list(given)} does not fit the tensors, whose widths are {list(dims)}'
        )
    depths = tuple(
        len({k[len(prefix) :].split('.')[1] for k in state if k.startswith(f'{prefix}block{s}.')})
        for s in (3, 4)
    )
    arch = dict(
        embed_dims=dims,
        depths=depths,
        num_heads=args.get('num_heads', 8),
        mlp_ratio=shape('block3.0.mlp.fc1_conv.weight')[0] // dims[2],
        value_ratio=shape('block3.0.attn.v_conv.0.weight')[0] // dims[2],
    )
    scale = 1e-6 if f'{prefix}block3.0.layer_scale1' in state else None
    return dict(
        arch=arch, in_channels=shape('downsample1_1.encode_conv.weight')[1], layer_scale=scale
    )


def _classifier(state: Mapping[str, Tensor], args: dict) -> dict:
    backbone = backbone_args(state, args)
    return ESpikeFormer.classifier_cfg(num_classes=len(state['head.weight']), **backbone)


def _events(state: Mapping[str, Tensor], args: dict) -> dict:
    cfg = _classifier(state, args)
    cfg['backbone']['arch'].update(norm=args.get('D_Norm', 1), decay=0.0)
    cfg['backbone']['num_steps'] = args.get('T', 1)
    return cfg


def _features(state: Mapping[str, Tensor], args: dict) -> dict:
    return dict(type='mmbsa.ESpikeFormer', readout='mean', **backbone_args(state, args))


def _segmentor(state: Mapping[str, Tensor], args: dict) -> dict:
    backbone = dict(
        type='mmbsa.ESpikeFormer', **backbone_args(state, args.get('backbone', {}), 'backbone.')
    )
    neck_channels, in_channels = zip(
        *(state[f'neck.lateral_convs.{i}.0.weight'].shape[:2] for i in range(4))
    )
    head = args.get('decode_head', {})
    return dict(
        type='mmseg.EncoderDecoder',
        backbone=backbone,
        neck=dict(type='mmbsa.SpikeFPN', in_channels=in_channels, out_channels=neck_channels[0]),
        decode_head=dict(
            type='mmbsa.SpikeFPNHead',
            in_channels=list(neck_channels),
            in_index=head.get('in_index', [0, 1, 2, 3]),
            feature_strides=head.get('feature_strides', [4, 8, 16, 32]),
            channels=neck_channels[0],
            num_classes=len(state['decode_head.conv_seg.bias']),
            align_corners=head.get('align_corners', False),
        ),
    )


_NECK_AND_HEAD = [
    *(
        (rf'neck\.{name}_convs\.(\d+)\.{i}\.', rf'neck.{new}.\1.{kind}.')
        for name, new in (('lateral', 'laterals'), ('fpn', 'outputs'))
        for i, kind in enumerate(('conv', 'norm'))
    ),
    # within a scale: unit 2 j is (neuron, conv, norm), unit 2 j + 1 is the upsampling
    *(
        (rf'(scale_heads\.\d+)\.{2 * j}\.{i}\.', rf'\1.{j}.{kind}.')
        for j in range(4)
        for i, kind in ((1, 'conv'), (2, 'norm'))
    ),
]

register('sdt_v3_cls', Recipe(_classifier, [(r'^(?!head\.)', 'backbone.'), *_BACKBONE]))
register('sdt_v3_hardvs', Recipe(_events, [(r'^(?!head\.)', 'backbone.'), *_BACKBONE]))
register(
    'sdt_v3_seg_backbone',
    Recipe(_features, [(r'^', 'backbone.'), *_BACKBONE, (r'^backbone\.', '')]),
)
register('sdt_v3_seg_full', Recipe(_segmentor, [*_BACKBONE, *_NECK_AND_HEAD]))
