"""QKFormer: sizes as published, any input, any T, its two kinds of attention and its two slips."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA

from mmbsa.models.attentions import QKChannelAttention, QKTokenAttention, SpikingSelfAttention
from mmbsa.models.backbones.qkformer import QKFormer

PRESETS = QKFormer.arch_settings
IMAGENET = dict(PRESETS['10-384'], embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=4)
CIFAR = dict(PRESETS['cifar-4-384'], embed_dims=(8, 16, 32), num_heads=4)
DVS = dict(PRESETS['dvs-2-256'], embed_dims=(16, 32), num_heads=4)


def build(arch=IMAGENET, **kwargs):
    return checks.build('QKFormer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, classes, official',
    [
        ('10-384', 1000, 16_473_688),
        ('10-512', 1000, 29_079_336),
        ('10-768', 1000, 64_962_760),
        ('cifar-4-384', 10, 6_706_234),
        ('cifar-4-384', 100, 6_740_884),
        ('dvs-2-256', 10, 1_504_138),
        ('gesture-2-256', 11, 1_999_371),
    ],
)
def test_published_sizes(arch, classes, official):
    assert checks.parameters('QKFormer', arch, classes) == official


@pytest.mark.parametrize('arch', [IMAGENET, CIFAR, DVS], ids=['imagenet', 'cifar', 'dvs'])
@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 4, None), ((33, 47), 1, BSA), ((64, 16), 2, BSA)]
)
def test_shapes_and_gradients(arch, size, num_steps, attention):
    checks.check_shapes_and_gradients(
        build(arch, num_steps=num_steps, attention=attention, in_channels=5), size
    )


def test_strides_of_every_layout():
    for arch, strides in ((IMAGENET, [4, 8, 16]), (CIFAR, [1, 2, 4]), (DVS, [8, 16])):
        assert [info['reduction'] for info in build(arch).feature_info] == strides
    assert build(DVS).stem.head[0].conv.in_channels == 2


def test_heads_and_widths_of_presets():
    assert [(p['embed_dims'], p['num_heads']) for p in PRESETS.values()] == [
        ((96, 192, 384), 6),
        ((128, 256, 512), 8),
        ((192, 384, 768), 12),
        ((96, 192, 384), 8),
        ((128, 256), 16),
        ((128, 256), 16),
    ]


def test_kinds_of_the_stages():
    model = build(num_steps=1)
    kinds = [
        type(block[0].branch.attn)
        for block in (model.stages[0][0], model.stages[1][1], *model.stages[2][1:])
    ]
    assert kinds == [QKTokenAttention] * 2 + [SpikingSelfAttention] * 2
    assert model.stages[0][0][0].branch.v is None
    model = build(num_steps=1, qk_attention=dict(type='mmbsa.QKChannelAttention'), attention=BSA)
    assert type(model.stages[1][1][0].branch.attn) is QKChannelAttention
    model(checks.image())[-1].mean().backward()


def test_bsa_replaces_the_attention_alone():
    checks.check_bsa_swaps_the_attention_and_nothing_else(
        build(), build(attention=BSA), IMAGENET['depths'][-1]
    )


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('QKFormer', IMAGENET, num_steps=2)


def test_drop_path():
    checks.check_drop_path(build(drop_path_rate=0.6, num_steps=2))


def test_the_official_slip_leaks_from_sample_to_sample():
    plain, official = (
        checks.awake(build(num_steps=2)),
        build(num_steps=2, official_quirks=True).eval(),
    )
    official.load_state_dict(plain.state_dict())
    x = checks.image((64, 64), batch=3)
    with torch.no_grad():
        alone, together = official(x[1:2])[-1], official(x)[-1]
        assert torch.equal(plain(x[:1])[-1], official(x[:1])[-1])  # one sample: T * B is T
        assert torch.equal(together[0, 0], official(x[:1])[-1][0, 0])  # the first step comes first
    assert not torch.equal(alone[:, 0], together[:, 1])


def test_maps_need_not_be_square():
    official = build(num_steps=1, official_quirks=True).eval()
    assert official(checks.image((32, 64)))[-1].shape[-2:] == (2, 4)


@pytest.mark.parametrize(
    'arch, error, words',
    [
        ('10-385', KeyError, '10-384'),
        (dict(embed_dims=(8, 16, 32)), ValueError, 'tokenizer'),
        (dict(IMAGENET, depths=(1, 2)), ValueError, 'depths'),
        (dict(IMAGENET, num_heads=3), ValueError, 'num_heads=3'),
    ],
)
def test_bad_arch_is_named(arch, error, words):
    with pytest.raises(error, match=words):
        build(arch)
