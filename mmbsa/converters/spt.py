"""Official Spiking Point Transformer (PeppaWu/SPT): as it runs, without encoder, and corrected."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import check_args, tensor_of
from mmbsa.models.points.spiking_point_transformer import NEURON

_SHARED = {key: value for key, value in NEURON.items() if key not in ('type', 'tau')}
#: the official ``spike_mode`` -> neuron of mmbsa.
NEURONS = {
    'lif': NEURON,
    'plif': dict(_SHARED, type='mmbsa.ParametricLIFNode', init_tau=2.0),
    'elif': dict(
        _SHARED,
        type='mmbsa.EIFNode',
        tau=2.0,
        delta_T=1.0,
        theta_rh=0.8,
        v_rest=0.0,
        v_reset=-0.1,
    ),
    'if': dict(_SHARED, type='mmbsa.IFNode'),
}


def _config(state: Mapping[str, Tensor], args: dict, quirks: bool) -> dict:
    model = args.get('model', {})
    mode = model.get('spike_mode', 'lif')
    if mode not in NEURONS:
        raise ValueError(f'spt: model.spike_mode must be one of {list(NEURONS)}, got {mode!r}')
    neuron = NEURONS[mode]
    family = 'Spiking Point Transformer'
    width, channels = (
        tensor_of(state, f'backbone.{key}.weight', family).shape[0]
        for key in ('transformer1.0.fc1.1', 'fc1.0')
    )
    gate = tensor_of(state, 'backbone.transformer1.0.fc1.0.gate.weight', family)
    steps = gate.shape[1] // channels
    check_args(family, args, T=steps)
    check_args(family, model, timestep=steps, transformer_dim=width)
    levels = 1 + max(
        int(key.split('.')[2]) for key in state if key.startswith('backbone.transition_downs.')
    )
    # the official forward runs only one block at full resolution
    depths = (1, *model.get('blocks', [1] * (levels + 1))[1:])
    encoder = dict(
        type='mmbsa.PointQueueEncoder', num_steps=steps, num_samples=model.get('num_samples', 512)
    )
    if not model.get('use_encoder', True):
        encoder = dict(type='mmbsa.PointDirectEncoder', num_steps=steps)
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='mmbsa.PointDataPreprocessor'),
        backbone=dict(
            type='mmbsa.SpikingPointTransformer',
            in_channels=state['backbone.fc1.0.weight'].shape[1],
            base_channels=channels,
            embed_dims=width,
            num_neighbors=model.get('nneighbor', 16),
            depths=depths,
            encoder=encoder,
            neuron=neuron,
            official_quirks=quirks,
        ),
        head=dict(
            type='mmbsa.PointClsHead',
            num_classes=state['fc2.7.weight'].shape[0],
            in_channels=state['fc2.1.weight'].shape[1],
            hidden_channels=tuple(state[f'fc2.{n}.weight'].shape[0] for n in (1, 4)),
            neuron=neuron,
        ),
    )


def _units(official: str, ours: str, *numbers: int) -> list[tuple[str, str]]:
    """Return the rules of a unit from the numbers of neuron, convolution and norm in a Sequential.

    -1 means that the layer does not exist.
    """
    return [
        (rf'^{official}\.{number}\.', f'{ours}.{part}.')
        for number, part in zip(numbers, ('neuron', 'conv', 'norm'))
        if number >= 0
    ]


def _block(official: str, ours: str) -> list[tuple[str, str]]:
    rules = [
        *_units(rf'{official}\.fc1', f'{ours}.reduce', 0, 1, 2),
        (rf'^{official}\.fc1\.3\.', f'{ours}.neuron.'),
        *_units(rf'{official}\.fc_delta', f'{ours}.position.0', 0, 1, 2),
        *_units(rf'{official}\.fc_delta', f'{ours}.position.1', 3, 4, 5),
        (rf'^{official}\.fc_delta\.6\.', f'{ours}.position.2.'),
        *_units(rf'{official}\.fc_gamma', f'{ours}.attention.relation.0', 0, 1, 2),
        *_units(rf'{official}\.fc_gamma', f'{ours}.attention.relation.1', 3, 4, 5),
        (rf'^{official}\.fc2\.0\.', f'{ours}.attention.out_neuron.'),
        *_units(rf'{official}\.fc2', f'{ours}.expand', -1, 1, 2),
    ]
    for name in 'qkv':
        rules += [
            *_units(rf'{official}\.w_{name}s', f'{ours}.{name}', -1, 0, 1),
            (rf'^{official}\.w_{name}s\.2\.', f'{ours}.attention.{name}_neuron.'),
        ]
    return rules


_DOWN = [
    (
        rf'^backbone\.transition_downs\.(\d+)\.sa\.mlp_{old}\.(\d+)\.',
        rf'backbone.downs.\1.units.\2.{new}.',
    )
    for old, new in (('lifs', 'neuron'), ('convs', 'conv'), ('bns', 'norm'))
]
_RULES = [
    *_units(r'fc2', 'head.hidden.0', 0, 1, 2),
    *_units(r'fc2', 'head.hidden.1', 3, 4, 5),
    *_units(r'fc2', 'head.fc', 6, 7),
    *_units(r'backbone\.fc1', 'backbone.stem.0', -1, 0, 1),
    *_units(r'backbone\.fc1', 'backbone.stem.1', 2, 3, 4),
    *_DOWN,
    *_block(r'backbone\.transformer1\.0', 'backbone.blocks.0'),
    *(
        rule
        for i in range(32)
        for rule in _block(rf'backbone\.transformers\.{i}', f'backbone.blocks.{i + 1}')
    ),
    (r'\.experts\.2\.w$', '.w'),
]
_UNUSED = (r'^backbone\.transformer1\.[1-9]',)

for _source, _quirks in (('spt', True), ('spt_direct', True), ('spt_fixed', False)):
    register(_source, Recipe(partial(_config, quirks=_quirks), _RULES, _UNUSED))
