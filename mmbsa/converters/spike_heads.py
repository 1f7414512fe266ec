"""Official spiking neck and heads of SDT-V3 detection; mmdet must be installed."""

import re
from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register

#: neurons of the official neck and heads: counts that are not divided.
NEURON = dict(type='mmbsa.IntegerNode', levels=4, norm=1)
#: official containers merge time and batch before a layer; the layer has index 0 in them, and the
#: container index 1 of a pair.
LAYER_RULES = [(r'\.1\.0\.', '.')]


def _tensor(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise KeyError(f'no tensor {key!r}: is this a state dict of that part of SDT-V3 detection?')
    return state[key]


def _taken(args: Mapping, *names: str) -> dict:
    """Return the arguments that mmdet's class has under the same names; T is read from the maps."""
    return {name: value for name, value in args.items() if name in names}


def _neck(state: Mapping[str, Tensor], args: Mapping) -> dict:
    """Return the config; ``official_quirks=False`` removes the clamp at 1 in evaluation."""
    levels = sorted(
        key for key in state if re.fullmatch(r'lateral_convs\.\d+\.1\.0\.conv\.weight', key)
    )
    _tensor(state, 'lateral_convs.0.1.0.conv.weight')
    return dict(
        type='mmbsa.SpikeFPN',
        in_channels=[state[key].shape[1] for key in levels],
        out_channels=len(state[levels[0]]),
        num_outs=args.get('num_outs', 5),
        neuron=NEURON,
        norm_cfg=None,
        official_quirks=args.get('official_quirks', True),
    )


def _rpn(state: Mapping[str, Tensor], args: Mapping) -> dict:
    """Return the config; ``official_quirks=False`` uses the true strides of maps for anchors."""
    feat, channels = _tensor(state, 'rpn_conv.1.0.weight').shape[:2]
    anchors = dict(
        type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
    )
    return dict(
        type='mmbsa.SpikeRPNHead',
        in_channels=channels,
        feat_channels=feat,
        neuron=NEURON,
        **{
            'anchor_generator': anchors,
            'official_quirks': True,
            **_taken(
                args, 'anchor_generator', 'bbox_coder', 'loss_cls', 'loss_bbox', 'official_quirks'
            ),
        },
    )


def _bbox(state: Mapping[str, Tensor], args: Mapping) -> dict:
    hidden, inputs = _tensor(state, 'shared_fcs.0.1.0.weight').shape
    side = args.get('roi_feat_size', 7)
    return dict(
        type='mmbsa.SpikeShared2FCBBoxHead',
        in_channels=inputs // side**2,
        roi_feat_size=side,
        fc_out_channels=hidden,
        num_classes=len(_tensor(state, 'fc_cls.bias')) - 1,
        neuron=NEURON,
        **_taken(args, 'bbox_coder', 'reg_class_agnostic', 'loss_cls', 'loss_bbox'),
    )


def _mask(state: Mapping[str, Tensor], args: Mapping) -> dict:
    out_channels, in_channels = _tensor(state, 'convs.0.1.0.conv.weight').shape[:2]
    return dict(
        type='mmbsa.SpikeFCNMaskHead',
        in_channels=in_channels,
        conv_out_channels=out_channels,
        num_convs=sum(bool(re.fullmatch(r'convs\.\d+\.1\.0\.conv\.weight', key)) for key in state),
        num_classes=len(_tensor(state, 'conv_logits.1.0.weight')),
        neuron=NEURON,
        **_taken(args, 'loss_mask'),
    )


register(
    'spike_fpn',
    Recipe(
        _neck,
        [
            (r'^lateral_convs\.(\d+)\.1\.0\.', r'laterals.\1.'),
            (r'^fpn_convs\.(\d+)\.1\.0\.', r'outputs.\1.'),
        ],
    ),
)
register('spike_rpn_head', Recipe(_rpn, LAYER_RULES))
register('spike_bbox_head', Recipe(_bbox, LAYER_RULES))
register('spike_mask_head', Recipe(_mask, LAYER_RULES))
