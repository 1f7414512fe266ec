"""Spikingformer: sizes as published, any input, any T, membrane shortcuts."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA
from torch import nn

TINY = dict(embed_dims=32, depth=2, num_heads=4)
CIFAR = dict(TINY, pooling='0011')


def build(arch=TINY, **kwargs):
    return checks.build('Spikingformer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, classes, official, depth, width',
    [
        ('8-384', 1000, 16_828_312, 8, 384),
        ('8-512', 1000, 29_705_768, 8, 512),
        ('8-768', 1000, 66_363_208, 8, 768),
        ('cifar-4-256', 100, 4_179_332, 4, 256),
        ('cifar-2-384', 100, 5_800_468, 2, 384),
        ('cifar-4-384', 100, 9_360_916, 4, 384),
        ('cifar-4-384', 10, 9_326_266, 4, 384),
        ('dvs-2-256', 10, 2_568_714, 2, 256),
        ('dvs-2-256', 11, 2_568_971, 2, 256),
    ],
)
def test_published_sizes_without_what_is_never_used(arch, classes, official, depth, width):
    assert (
        checks.parameters('Spikingformer', arch, classes) == official - 4 * width * depth
    )  # two LayerNorms per block


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


def test_every_convolution_but_the_first_sees_spikes_and_the_stream_is_real():
    model, seen = checks.awake(build()), []
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        conv.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    last = model(checks.image((64, 64)))[-1]
    assert len(seen) == 5 + TINY['depth'] * 6
    assert all(x.unique().tolist() == [0.0, 1.0] for x in seen[1:])
    assert not torch.equal(last, last.round())


def test_bsa_replaces_the_attention_alone():
    checks.check_bsa_swaps_the_attention_and_nothing_else(
        build(), build(attention=BSA), TINY['depth']
    )


def test_events_have_a_shorter_time_constant():
    assert {n.tau for n in checks.neurons(build(dict(TINY, tau=1.5)))} == {1.5}
    assert {n.tau for n in checks.neurons(build())} == {2.0}
    with torch.device('meta'):
        preset = build('dvs-2-256', attention=BSA)
    assert {n.tau for n in checks.neurons(preset)} == {1.5} and preset.stem.conv.in_channels == 2


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('Spikingformer', TINY, num_steps=2)


def test_drop_path():
    checks.check_drop_path(build(drop_path_rate=0.6, num_steps=2))
