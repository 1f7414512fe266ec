"""Official QKFormer (ImageNet, CIFAR-10/100, CIFAR10-DVS and DVS128 Gesture)."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, check_args, depth_of, tensor_of
from mmbsa.models.backbones import QKFormer

#: units of the first embedding in order, and index of the unit at which the shortcut starts.
_FIRST = dict(
    imagenet=(('proj', 'proj1', 'proj2'), 1),
    cifar=(('proj', 'proj1'), 1),
    dvs=(('proj', 'proj1', 'proj2', 'proj3'), 2),
)
_LATER = dict(imagenet=('proj3', 'proj4'), cifar=('proj3', 'proj4'), dvs=('proj', 'proj4'))


def _embedding_rules(
    official: str, ours: str, names: tuple[str, ...], start: int
) -> list[tuple[str, str]]:
    places = {
        name: f'head.{i}' if i < start else f'body.{i - start}' for i, name in enumerate(names)
    }
    places['proj_res'] = 'shortcut'
    return [
        (rf'^{official}\.{name}_{kind}\.', f'{ours}.{place}.{kind_ours}.')
        for name, place in places.items()
        for kind, kind_ours in (('conv', 'conv'), ('bn', 'norm'))
    ]


def _rules(data: str) -> list[tuple[str, str]]:
    rules = _embedding_rules('patch_embed1', 'backbone.stem', *_FIRST[data])
    rules += [(rf'^stage1\.{i}\.', f'backbone.stages.0.{i}.') for i in range(64)]
    for stage in (2, 3):
        rules += _embedding_rules(
            f'patch_embed{stage}', f'backbone.stages.{stage - 1}.0', _LATER[data], 0
        )
        rules += [
            (rf'^stage{stage}\.{i}\.', f'backbone.stages.{stage - 1}.{i + 1}.') for i in range(64)
        ]
    return [*rules, *BLOCK_RULES]


def _config(state: Mapping[str, Tensor], args: Mapping, data: str, official_quirks: bool) -> dict:
    last = 2 if data == 'dvs' else 3
    widths = tuple(
        len(tensor_of(state, f'patch_embed{n}.proj_res_conv.weight', 'QKFormer'))
        for n in range(1, last + 1)
    )
    depths = tuple(depth_of(state, f'stage{n}') for n in range(1, last + 1))
    check_args('QKFormer', args, embed_dims=widths[-1])
    preset = dict(imagenet='10-', cifar='cifar-4-', dvs='dvs-2-')[data]
    presets = {
        key: value for key, value in QKFormer.arch_settings.items() if key.startswith(preset)
    }
    arch = dict(next(iter(presets.values())))
    heads = [value['num_heads'] for value in presets.values() if value['embed_dims'] == widths]
    if data == 'imagenet':  # the other two official constructors ignore these arguments
        heads = [args['num_heads']] if 'num_heads' in args else heads
    elif not heads:
        heads = [arch['num_heads']]
    if not heads:
        raise ValueError(
            f'QKFormer: no preset has the widths {widths}; give num_heads, which shapes do not show'
        )
    mlp = next(name for name in ('fc1_conv', 'mlp1_conv') if f'stage1.0.mlp.{name}.weight' in state)
    arch.update(
        embed_dims=widths,
        depths=depths,
        num_heads=heads[0],
        mlp_ratio=len(state[f'stage1.0.mlp.{mlp}.weight']) // widths[0],
    )
    return QKFormer.classifier_cfg(
        arch,
        len(tensor_of(state, 'head.weight', 'QKFormer')),
        num_steps=args.get('T', 4),
        in_channels=state['patch_embed1.proj_conv.weight'].shape[1],
        official_quirks=official_quirks,
    )


for _data in _FIRST:
    for _suffix, _quirks in (('', True), ('_sepT', False)):
        register(
            f'qkformer_{_data}{_suffix}',
            Recipe(partial(_config, data=_data, official_quirks=_quirks), _rules(_data)),
        )
