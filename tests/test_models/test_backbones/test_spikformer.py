"""Spikformer: sizes as published, any input, any T, spike shortcuts."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA

from mmbsa.models.attentions import SpikingSelfAttention

TINY = dict(embed_dims=32, depth=2, num_heads=4)
CIFAR = dict(TINY, pooling='0011', qkv_bias=True, linear_init=True)


def build(arch=TINY, **kwargs):
    return checks.build('Spikformer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, classes, official, depth, width',
    [
        ('8-384', 1000, 16_828_312, 8, 384),
        ('6-512', 1000, 23_385_640, 6, 512),
        ('8-512', 1000, 29_705_768, 8, 512),
        ('10-512', 1000, 36_025_896, 10, 512),
        ('8-768', 1000, 66_363_208, 8, 768),
        ('cifar-4-256', 10, 4_159_274, 4, 256),
        ('cifar-2-384', 10, 5_768_122, 2, 384),
        ('cifar-4-384', 10, 9_330_874, 4, 384),
        ('cifar-4-384', 100, 9_365_524, 4, 384),
        ('dvs-2-256', 10, 2_585_610, 2, 256),
    ],
)
def test_published_sizes_without_what_is_never_used(arch, classes, official, depth, width):
    unused = 4 * width * depth  # two LayerNorms per block
    if arch.startswith('dvs'):
        unused += 64 * width + 2 * width  # position embedding of 8 x 8 tokens, last LayerNorm
    assert checks.parameters('Spikformer', arch, classes) == official - unused


@pytest.mark.parametrize('arch', [TINY, CIFAR], ids=['imagenet', 'cifar'])
@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 4, None), ((33, 47), 1, BSA), ((64, 16), 2, BSA)]
)
def test_shapes_and_gradients(arch, size, num_steps, attention):
    checks.check_shapes_and_gradients(
        build(arch, num_steps=num_steps, attention=attention, in_channels=5), size
    )


def test_strides_follow_the_pools():
    assert [info['reduction'] for info in build().feature_info] == [2, 4, 8, 16]
    assert [info['reduction'] for info in build(CIFAR).feature_info] == [1, 1, 2, 4]
    assert build(dict(TINY, in_channels=2)).stem.conv.in_channels == 2


def test_the_stream_is_a_growing_sum_of_spikes():
    levels = checks.awake(build())(checks.image())
    for level in levels[:3]:
        assert level.unique().tolist() == [0.0, 1.0]
    assert (
        torch.equal(levels[3], levels[3].round()) and 2 < levels[3].max() <= 2 + 2 * TINY['depth']
    )


def test_bsa_replaces_the_attention_alone():
    checks.check_bsa_swaps_the_attention_and_nothing_else(
        build(), build(attention=BSA), TINY['depth']
    )


def test_native_attention_and_its_scale():
    for arch, scale in ((TINY, 0.125), (dict(TINY, scale=0.25), 0.25)):
        kinds = [m for m in build(arch).modules() if isinstance(m, SpikingSelfAttention)]
        assert [kind.options['scale'] for kind in kinds] == [scale] * 2
        assert {kind.out_neuron.v_threshold for kind in kinds} == {0.5}
        assert {kind.q_neuron.v_threshold for kind in kinds} == {1.0}


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('Spikformer', TINY, num_steps=2)


def test_drop_path():
    checks.check_drop_path(build(drop_path_rate=0.6, num_steps=2))


def test_projections_of_cifar_start_as_linear_layers():
    conv = build(CIFAR).stages[3][1][0].branch.q.conv
    assert not conv.bias.any() and 0.017 < conv.weight.std() < 0.023
    assert build().stages[3][1][0].branch.q.conv.bias is None


@pytest.mark.parametrize(
    'arch, error, words',
    [
        ('9-384', KeyError, '8-384'),
        (dict(embed_dims=32, depth=2), ValueError, 'num_heads'),
        (dict(TINY, embed_dims=36), ValueError, 'multiple of 8'),
        (dict(TINY, pooling='111'), ValueError, 'pooling'),
        (dict(TINY, num_heads=5), ValueError, 'num_heads=5'),
        (dict(TINY, dephts=3), ValueError, 'dephts'),
    ],
)
def test_bad_arch_is_named(arch, error, words):
    with pytest.raises(error, match=words):
        build(arch)
