"""Official Spike2Former: its decode head, and the parts of the head."""

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import check_args, tensor_of

#: neurons of the official model, which do not integrate over T.
NEURON = dict(type='mmbsa.IntegerNode', levels=8, decay=0.0)
_NAME = 'Spike2Former'


def _number(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return the length of a list of layers, from the numbers in its keys."""
    return len({match[1] for match in (re.match(pattern, key) for key in state) if match})


def _sizes(state: Mapping[str, Tensor], prefix: str) -> tuple[int, int, int]:
    """Return channels, groups and side of the depth-wise convolutions of a deformable attention.

    It has 3 x 3 points.
    """
    weight = tensor_of(state, f'{prefix}dw_conv.0.weight', _NAME)
    masks = len(tensor_of(state, f'{prefix}mask.0.weight', _NAME))
    if masks % 9:
        raise ValueError(
            f'{_NAME}: {prefix}mask.0.weight has {masks} channels, expected 9 (points) times groups'
        )
    return len(weight), masks // 9, weight.shape[-1]


def _check_deformable(args: Mapping) -> None:
    check_args(
        _NAME,
        {
            key: value
            for key, value in args.items()
            if key
            in ('kernel_size', 'stride', 'pad', 'dilation', 'offset_scale', 'center_feature_scale')
        },
        kernel_size=3,
        stride=1,
        pad=1,
        dilation=1,
        offset_scale=1.0,
        center_feature_scale=False,
    )


def _deformable(state: Mapping[str, Tensor], args: Mapping) -> dict:
    channels, groups, side = _sizes(state, '')
    _check_deformable(args)
    check_args(
        _NAME,
        {key: args[key] for key in ('channels', 'group', 'dw_kernel_size') if key in args},
        channels=channels,
        group=groups,
        dw_kernel_size=side,
    )
    ratio = len(tensor_of(state, 'input_proj.pwconv1.0.weight', _NAME)) // channels
    return dict(
        type='mmbsa.SpikeDeformableAttention',
        channels=channels,
        groups=groups,
        depthwise_size=side,
        ratio=ratio,
        neuron=NEURON,
        official_quirks=True,
    )


def _encoder_sizes(state: Mapping[str, Tensor], prefix: str) -> dict:
    channels, groups, side = _sizes(state, f'{prefix}dcn.')
    return dict(
        channels=channels,
        groups=groups,
        depthwise_size=side,
        kernel_size=tensor_of(state, f'{prefix}Conv.dwconv.0.weight', _NAME).shape[-1],
        feedforward_channels=len(tensor_of(state, f'{prefix}ffn.fc1_conv.weight', _NAME)),
    )


def _encoder_layer(state: Mapping[str, Tensor], args: Mapping) -> dict:
    return dict(
        type='mmbsa.Spike2FormerEncoderLayer',
        neuron=NEURON,
        official_quirks=True,
        **_encoder_sizes(state, ''),
    )


def _decoder_layer(state: Mapping[str, Tensor], args: Mapping) -> dict:
    hidden, channels = tensor_of(state, 'ffn.fc1.weight', _NAME).shape[:2]
    return dict(
        type='mmbsa.Spike2FormerDecoderLayer',
        channels=channels,
        num_heads=_heads(args),
        feedforward_channels=hidden,
        neuron=NEURON,
        official_quirks=True,
    )


def _heads(args: Mapping) -> int:
    """Return the number of heads, which does not follow from shapes."""
    return args.get('num_heads', 8)


def _pixel_decoder(state: Mapping[str, Tensor], args: Mapping, prefix: str = '') -> dict:
    finer = _number(state, rf'{prefix}lateral_convs\.(\d+)\.')
    widths = [
        tensor_of(state, f'{prefix}lateral_convs.{index}.0.weight', _NAME).shape[1]
        for index in range(finer)
    ]
    widths.append(tensor_of(state, f'{prefix}encoder_in_proj.0.weight', _NAME).shape[1])
    return dict(
        type='mmbsa.Spike2FormerPixelDecoder',
        in_channels=widths,
        neuron=NEURON,
        official_quirks=True,
        num_layers=_number(state, rf'{prefix}encoder\.layers\.(\d+)\.'),
        **_encoder_sizes(state, f'{prefix}encoder.layers.0.'),
    )


def criterion_of(args: Mapping) -> dict:
    """Return the arguments of the criterion from the official ``loss_*`` and ``train_cfg``.

    Omitted arguments have their defaults.
    """
    found = {}
    for name in ('loss_cls', 'loss_mask', 'loss_dice'):
        if name in args:
            found[name] = args[name].get('loss_weight', 1.0)
    weights = args.get('loss_cls', {}).get('class_weight')
    if weights:
        if set(weights[:-1]) != {1.0}:
            raise ValueError(
                f'{_NAME}: loss_cls.class_weight must be 1 for every class but the last, got '
                f'{weights}'
            )
        found['no_object_weight'] = weights[-1]
    found.update(
        {
            key: args['loss_mask'][key]
            for key in ('alpha', 'gamma')
            if key in args.get('loss_mask', {})
        }
    )
    found.update(
        {key: args['loss_dice'][key] for key in ('eps',) if key in args.get('loss_dice', {})}
    )
    costs = dict(ClassificationCost='cost_cls', FocalLossCost='cost_mask', DiceCost='cost_dice')
    for cost in (args.get('train_cfg') or {}).get('assigner', {}).get('match_costs', ()):
        found[costs[cost['type'].rpartition('.')[2]]] = cost.get('weight', 1.0)
    return found


def _head(state: Mapping[str, Tensor], args: Mapping, quirks: bool) -> dict:
    pixels = _pixel_decoder(state, args, 'pixel_decoder.')
    layer = args.get('transformer_decoder', {}).get('layer_cfg', {})
    queries, channels = tensor_of(state, 'query_feat.weight', _NAME).shape
    classes = len(tensor_of(state, 'cls_embed.weight', _NAME)) - 1
    check_args(
        _NAME,
        {
            key: args[key]
            for key in ('num_classes', 'num_queries', 'feat_channels', 'out_channels')
            if key in args
        },
        num_classes=classes,
        num_queries=queries,
        feat_channels=channels,
        out_channels=channels,
    )
    return dict(
        type='mmbsa.Spike2FormerHead',
        num_classes=classes,
        num_queries=queries,
        neuron=NEURON,
        official_quirks=quirks,
        query_sigmoid=True,
        in_index=args.get('in_index', list(range(len(pixels['in_channels'])))),
        encoder_feedforward_channels=pixels['feedforward_channels'],
        num_encoder_layers=pixels['num_layers'],
        num_layers=_number(state, r'transformer_decoder\.layers\.(\d+)\.'),
        num_heads=_heads(layer.get('cross_attn_cfg', layer.get('self_attn_cfg', {}))),
        feedforward_channels=len(
            tensor_of(state, 'transformer_decoder.layers.0.ffn.fc1.weight', _NAME)
        ),
        criterion=criterion_of(args),
        **{
            key: pixels[key]
            for key in ('in_channels', 'channels', 'groups', 'kernel_size', 'depthwise_size')
        },
    )


#: (convolution, norm) pairs are named by number, separable convolutions and MLPs by name.
_UNITS = [
    (r'\.0\.(weight|bias)$', r'.conv.\1'),
    (r'\.1\.(weight|bias|running_mean|running_var|num_batches_tracked)$', r'.norm.\1'),
    *(
        (rf'(^|\.){name}\.', rf'\g<1>{index}.')
        for index, name in enumerate(('pwconv1', 'dwconv', 'pwconv2'))
    ),
    *(
        (rf'(^|\.)ffn\.(?:{names})\.', rf'\g<1>ffn.{ours}.')
        for names, ours in (
            (r'fc1_conv|fc1', 'expand.conv'),
            (r'fc1_bn|bn1', 'expand.norm'),
            (r'fc2_conv|fc2', 'reduce.conv'),
            (r'fc2_bn|bn2', 'reduce.norm'),
        )
    ),
]
_DEFORMABLE = [
    (r'(^|\.)input_proj\.', r'\g<1>project_in.'),
    (r'(^|\.)output_proj\.', r'\g<1>project_out.'),
    (r'(^|\.)dw_conv\.', r'\g<1>context.'),
]


def _encoder_rules(prefix: str) -> list[tuple[str, str]]:
    """Return the rules of residual branches, which are named by number."""
    return [
        *(
            (rf'^({prefix}){name}\.', rf'\g<1>{index}.branch.')
            for index, name in enumerate(('Conv', 'dcn', 'ffn'))
        ),
        *((rf'^({prefix})gamma{index + 1}$', rf'\g<1>{index}.scale') for index in range(3)),
    ]


_PIXELS = [
    (r'(^|\.)encoder\.layers\.', r'\g<1>encoder.'),
    *_encoder_rules(r'(?:pixel_decoder\.)?encoder\.\d+\.'),
    (r'(^|\.)encoder_in_proj\.', r'\g<1>project_in.'),
    (r'(^|\.)encoder_out_proj\.', r'\g<1>project_out.'),
    (r'(^|\.)lateral_convs\.', r'\g<1>laterals.'),
    (r'(^|\.)output_convs\.', r'\g<1>outputs.'),
    (r'(^|\.)mask_feature\.', r'\g<1>mask_features.conv.'),
]
_ATTENTION = [
    *((rf'_attn\.attn\.{name}_conv\.', f'_attn.{name}.') for name in 'qkv'),
    (r'_attn\.attn\.out_conv\.', '_attn.proj.'),
]
_HEAD = [
    (r'^transformer_decoder\.', ''),
    (r'^((?:query_feat|query_embed|level_embed))\.weight$', r'\1'),
    (r'^cls_embed\.', 'cls_embed.conv.'),
    (r'^shortcut_conv\.', 'shortcut.'),
    (r'^w$', 'shortcut_scale'),
    *(
        (rf'^mask_embed\.{name}\.', f'mask_embed.{index}.conv.')
        for index, name in enumerate(('fc1', 'fc2', 'fc_out'))
    ),
]

register('spike2former_dcn', Recipe(_deformable, [*_UNITS, *_DEFORMABLE]))
register(
    'spike2former_encoder_layer',
    Recipe(_encoder_layer, [*_UNITS, *_DEFORMABLE, *_encoder_rules('')]),
)
register('spike2former_decoder_layer', Recipe(_decoder_layer, [*_UNITS, *_ATTENTION]))
register('spike2former_pixel_decoder', Recipe(_pixel_decoder, [*_UNITS, *_DEFORMABLE, *_PIXELS]))
# the second is the official code without its three reinterpretations of memory
for _source, _quirks in (('spike2former_head', True), ('spike2former_head_noreorder', False)):
    register(
        _source,
        Recipe(
            partial(_head, quirks=_quirks), [*_UNITS, *_DEFORMABLE, *_PIXELS, *_ATTENTION, *_HEAD]
        ),
    )
