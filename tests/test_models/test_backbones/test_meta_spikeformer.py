"""Meta-SpikeFormer (SDT-V2): sizes as published, any input, any T, RepConv projections."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA
from torch import nn

from mmbsa.models.attentions import SpikingSelfAttention

TINY = dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2)


def build(arch=TINY, **kwargs):
    return checks.build('MetaSpikeFormer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, official',
    [('15m', 15_112_208), ('8-384', 31_333_864), ('8-512', 55_350_248), ('8-768', 123_741_160)],
)
def test_published_sizes(arch, official):
    assert checks.parameters('MetaSpikeFormer', arch, 1000) == official


@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 4, None), ((33, 47), 1, BSA), ((64, 16), 2, BSA)]
)
def test_shapes_and_gradients(size, num_steps, attention):
    checks.check_shapes_and_gradients(
        build(num_steps=num_steps, attention=attention, in_channels=5), size
    )


def test_bsa_replaces_the_attention_alone():
    checks.check_bsa_swaps_the_attention_and_nothing_else(build(), build(attention=BSA), 2)


def test_native_attention():
    kinds = [m for m in build().modules() if isinstance(m, SpikingSelfAttention)]
    assert [kind.options['scale'] for kind in kinds] == [0.125] * 2
    assert {kind.out_neuron.v_threshold for kind in kinds} == {0.5}


def test_separable_convolutions_fire_twice():
    separable = build().stages[0][0][0].branch
    assert [type(unit.neuron).__name__ for unit in separable] == ['LIFNode', 'LIFNode', 'Identity']
    assert [type(unit.norm) for unit in separable] == [nn.BatchNorm2d, nn.Identity, nn.BatchNorm2d]


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('MetaSpikeFormer', TINY, num_steps=2)


def test_drop_path():
    checks.check_drop_path(build(drop_path_rate=0.6, num_steps=2))


@pytest.mark.parametrize(
    'kwargs, error, words',
    [
        (dict(arch='9-384'), KeyError, '8-384'),
        (dict(arch=dict(embed_dims=(8, 16, 16))), ValueError, '= 4 entries'),
        (dict(arch=dict(TINY, embed_dims=(9, 16, 16, 24))), ValueError, 'must be even'),
        (dict(arch=dict(TINY, head=3)), ValueError, 'num_heads'),
        (dict(norm_cfg=dict(type='GN', num_groups=2)), ValueError, 'batch norm'),
    ],
)
def test_bad_configs_are_named(kwargs, error, words):
    with pytest.raises(error, match=words):
        build(**kwargs)


def test_one_step_equals_the_first_of_many():
    """LIF neurons start at rest and know no future."""
    many = checks.awake(build(num_steps=3))
    one = build(num_steps=1).eval()
    one.load_state_dict(many.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(one(checks.image())[-1][0], many(checks.image())[-1][0])
