"""Spike-driven Transformer V1: sizes as published, any input, any T, membrane shortcuts, masks for
attention."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA

from mmbsa.models.attentions import SpikeDrivenSelfAttention

TINY = dict(embed_dims=32, depth=2, num_heads=4)
EVENTS = dict(TINY, pooling='0011', in_channels=2, dilate=True)


def build(arch=TINY, **kwargs):
    return checks.build('SpikeDrivenTransformer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, classes, official, depth',
    [
        ('8-384', 1000, 16_816_536, 8),
        ('6-512', 1000, 23_373_736, 6),
        ('8-512', 1000, 29_689_896, 8),
        ('10-512', 1000, 36_006_056, 10),
        ('8-768', 1000, 66_339_144, 8),
        ('cifar-2-256', 10, 2_567_082, 2),
        ('cifar-2-256', 100, 2_590_212, 2),
        ('cifar-2-512', 10, 10_233_546, 2),
        ('cifar-2-512', 100, 10_279_716, 2),
        ('cifar10dvs-2-256', 10, 2_566_794, 2),
        ('dvs128-2-256', 11, 2_567_051, 2),
    ],
)
def test_published_sizes_without_what_is_never_used(arch, classes, official, depth):
    talking_heads = 8 * 8 * depth
    assert checks.parameters('SpikeDrivenTransformer', arch, classes) == official - talking_heads


@pytest.mark.parametrize('arch', [TINY, EVENTS], ids=['images', 'events'])
@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 4, None), ((33, 47), 1, BSA), ((64, 16), 2, None)]
)
def test_shapes_and_gradients(arch, size, num_steps, attention):
    """A silent mask passes no gradient to q (a fresh model of images), a saturated one none to k
    (dilated products)."""
    model = build(arch, num_steps=num_steps, attention=attention, in_channels=5)
    checks.check_shapes_and_gradients(
        model if arch is EVENTS else checks.awake(model).train(), size
    )


def test_strides_follow_the_pools():
    assert [info['reduction'] for info in build().feature_info] == [2, 4, 8, 16]
    assert [info['reduction'] for info in build(EVENTS).feature_info] == [1, 1, 2, 4]
    assert [info['reduction'] for info in build('dvs128-2-256').feature_info] == [1, 2, 4, 8]


def test_the_stream_is_real_valued():
    for level in checks.awake(build())(checks.image()):
        assert (level < 0).any() and not torch.equal(level, level.round())


@pytest.mark.parametrize('arch', [TINY, EVENTS], ids=['images', 'events'])
def test_bsa_replaces_the_attention_alone(arch):
    checks.check_bsa_swaps_the_attention_and_nothing_else(
        build(arch), build(arch, attention=BSA), TINY['depth']
    )


def test_erosion_is_for_events_and_quirks_are_asked_for():
    def modes(model):
        return {m.dilate for m in model.modules() if isinstance(m, SpikeDrivenSelfAttention)}

    assert modes(build(official_quirks=True)) == {None}
    assert modes(build(EVENTS)) == {'map'} and modes(build(EVENTS, official_quirks=True)) == {
        'official'
    }
    model = checks.awake(build(EVENTS))
    quirky = build(EVENTS, official_quirks=True).eval()
    quirky.load_state_dict(model.state_dict())
    x = checks.image(channels=2)
    assert not torch.equal(model(x)[-1], quirky(x)[-1])


def test_an_mlp_of_ratio_one_has_shortcuts_inside():
    mlp = build(dict(TINY, mlp_ratio=1)).stages[3][1][1]
    x = torch.randn(4, 2, 32, 4, 4)
    first = x + mlp.branch[0](x)
    torch.testing.assert_close(mlp(x), first + mlp.branch[1](first))
    mlp = build().stages[3][1][1]
    torch.testing.assert_close(mlp(x), x + mlp.branch[1](mlp.branch[0](x)))


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('SpikeDrivenTransformer', TINY, num_steps=2)


def test_repeated_forwards_agree_and_samples_are_independent():
    checks.check_repeatable_and_independent(build(EVENTS, num_steps=3, official_quirks=True))


def test_drop_path():
    checks.check_drop_path(build(drop_path_rate=0.6, num_steps=2))


def test_convolutions_start_as_officially():
    model = build(dict(TINY, embed_dims=64))
    assert 0.018 < model.stages[3][1][1].branch[0].conv.weight.std() < 0.022
    assert not model.stages[3][1][0].branch.proj.conv.bias.any()
