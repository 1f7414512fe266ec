"""Official SGLFormer: CIFAR, events, and both ImageNet classes.

The first ImageNet class also exists with its neurons per sample.
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import BLOCK_RULES, check_args, depth_of, tensor_of
from mmbsa.models.backbones import SGLFormer

_STAGE = 'backbone.stages.3.'
#: official names of the parts of a local block in both layouts -> names in mmbsa.
_LOCAL = [
    *(
        (rf'\.(?:loc|local1)\.{name}\.', f'.0.branch.{ours}.')
        for name, ours in (
            ('conv', '0.branch'),
            ('conv1x1_1', '1.branch.0'),
            ('dwconv3x3', '1.branch.1'),
            ('conv1x1_2', '1.branch.2'),
        )
    ),
    *(
        (rf'\.(?:ssa1|local2_SSA)\.{name}_conv\.', f'.1.branch.branch.{name}.')
        for name in ('q', 'k', 'v', 'proj')
    ),
    *((rf'\.(?:mlp1|local2_MLP)\.mlp{n + 1}\.', f'.2.branch.{n}.') for n in (0, 1)),
]
#: names of the layers of a unit.
_LAYERS = [(r'\.conv[13]x[13]\.', '.conv.'), (r'\.bn\.', '.norm.')]


def _small_rules() -> list[tuple[str, str]]:
    """Return the rules of CIFAR and events.

    An official block is a group of a local and two global blocks, which follow each other in mmbsa.
    """
    rules = [
        (r'^bn\.', 'full_size.norm.'),
        (r'^full_size_conv\.', 'full_size.conv.'),
        (r'^stem\.conv\.', 'backbone.stem.'),
        *((rf'^tokenizer\.conv{n + 1}\.', f'backbone.stages.{n}.0.') for n in range(4)),
    ]
    for i in range(32):
        for k in (2, 3):
            place = f'{_STAGE}{3 * i + k}'
            rules += [
                *(
                    (rf'^blocks\.{i}\.ssa{k}\.{name}_conv\.', f'{place}.0.branch.{name}.')
                    for name in ('q', 'k', 'v', 'proj')
                ),
                *(
                    (rf'^blocks\.{i}\.mlp{k}\.mlp{n + 1}\.', f'{place}.1.branch.{n}.')
                    for n in (0, 1)
                ),
            ]
        rules.append((rf'^blocks\.{i}\.', f'{_STAGE}{3 * i + 1}.'))
    return [*rules, *_LOCAL, *_LAYERS]


def _imagenet_rules() -> list[tuple[str, str]]:
    rules = [
        (
            rf'^patch_embed\.proj{i or ""}_{kind}\.',
            f'backbone.{f"stages.{i - 1}.0" if i else "stem"}.{ours}.',
        )
        for i in range(5)
        for kind, ours in (('conv', 'conv'), ('bn', 'norm'))
    ]
    rules += [
        (r'^localblock\.0\.', f'{_STAGE}1.'),
        *((rf'^blocks\.{i}\.', f'{_STAGE}{i + 2}.') for i in range(64)),
    ]
    return [*rules, *_LOCAL, *BLOCK_RULES, *_LAYERS]


def _config(state: Mapping[str, Tensor], args: Mapping, data: str, official_quirks: bool) -> dict:
    """Return the config: sizes from shapes; heads, pools and T from ``args``.

    T is needed only where the head averages over it.
    """
    images = data.startswith('imagenet')
    dims = tensor_of(state, 'head.weight', 'SGLFormer').shape[1]
    depth = depth_of(state, 'blocks') + 2 * images
    check_args('SGLFormer', args, embed_dims=dims, depths=depth)
    preset = dict(
        imagenet='8-384', imagenet2='8-384-late', cifar='cifar-4-384', dvs='cifar10dvs-2-256'
    )[data]
    same = [
        arch['num_heads']
        for key, arch in SGLFormer.arch_settings.items()
        if arch['embed_dims'] == dims and key.startswith(preset.split('384')[0].split('256')[0])
    ]
    if 'num_heads' not in args and not same:
        raise ValueError(
            f'SGLFormer: no preset has the width {dims}; give num_heads, which shapes do not show'
        )
    arch = dict(
        SGLFormer.arch_settings[preset],
        embed_dims=dims,
        num_heads=args.get('num_heads', (same or [0])[0]),
    )
    local = 'localblock.0.local2_MLP.mlp1' if images else 'blocks.0.mlp1.mlp1'
    arch['mlp_ratio'] = len(tensor_of(state, f'{local}.conv1x1.weight', 'SGLFormer')) // dims
    num_steps = args.get('T', 4)
    if images:
        arch['global_blocks'] = depth - 2
        first = 'patch_embed.proj_conv.weight'
    else:
        positions, num_steps = tensor_of(state, 'full_size_conv.weight', 'SGLFormer').shape[2:]
        check_args('SGLFormer', args, T=num_steps)
        arch.update(depth=depth, positions=positions)
        first = 'stem.conv.conv3x3.weight'
    return SGLFormer.classifier_cfg(
        arch,
        len(state['head.weight']),
        num_steps=num_steps,
        in_channels=tensor_of(state, first, 'SGLFormer').shape[1],
        official_quirks=official_quirks,
    )


for _data in ('cifar', 'dvs'):
    register(
        f'sglformer_{_data}',
        Recipe(partial(_config, data=_data, official_quirks=False), _small_rules()),
    )
for _data in ('imagenet', 'imagenet2'):
    for _suffix, _quirks in (('', True), ('_sepT', False)):
        register(
            f'sglformer_{_data}{_suffix}',
            Recipe(
                partial(_config, data=_data, official_quirks=_quirks),
                _imagenet_rules(),
                (r'^blocks\.\d+\.norm[12]\.',),
            ),
        )
