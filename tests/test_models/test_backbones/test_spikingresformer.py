"""SpikingResformer: sizes as published, any input, any T, firing rates, patches."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA

from mmbsa.models.attentions import DualSpikeSelfAttention
from mmbsa.registry import MODELS

TINY = dict(
    embed_dims=(16, 16, 24),
    depths=(1, 1, 1),
    num_heads=(1, 2, 3),
    patch_sizes=(4, 2, 1),
    group_size=32,
)
CIFAR = dict(TINY, stem='3x3', patch_sizes=(4, 2, 2))


def build(arch=TINY, **kwargs):
    return checks.build('SpikingResformer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, classes, official',
    [
        ('ti', 1000, 11_180_992),
        ('s', 1000, 17_813_824),
        ('m', 1000, 35_601_472),
        ('l', 1000, 60_375_680),
        ('cifar', 10, 10_793_152),
        ('cifar', 100, 10_827_712),
        ('dvsg', 11, 2_709_830),
        ('s', 100, 17_353_024),
    ],
)
def test_published_sizes(arch, classes, official):
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmbsa.SpikingClassifier',
                num_classes=classes,
                head_bias=False,
                backbone=dict(type='mmbsa.SpikingResformer', arch=arch),
            )
        )
    assert sum(p.numel() for p in model.parameters()) == official


@pytest.mark.parametrize('arch', [TINY, CIFAR], ids=['imagenet', 'cifar'])
@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 4, None), ((33, 47), 1, BSA), ((48, 12), 2, None)]
)
def test_shapes_and_gradients(arch, size, num_steps, attention):
    """12 pixels leave a map of 3 behind the stem, smaller than a patch."""
    checks.check_shapes_and_gradients(
        build(arch, num_steps=num_steps, attention=attention, in_channels=5), size
    )


def test_event_frames_and_presets():
    model = build(dict(CIFAR, neuron='mmbsa.ParametricLIFNode'), num_steps=3)
    checks.check_event_frames(model)
    assert {type(n).__name__ for n in checks.neurons(model)} == {'ParametricLIFNode'}
    surrogates = {
        (type(n.surrogate_function).__name__, n.surrogate_function.alpha)
        for n in checks.neurons(build())
    }
    assert surrogates == {('ATan', 2.0)}
    assert [info['reduction'] for info in build().feature_info] == [4, 8, 16]
    assert [info['reduction'] for info in build(CIFAR).feature_info] == [1, 2, 4]


def test_bsa_gets_projections_of_its_own():
    """Queries of every pixel, keys and values of patches; nothing outside the attention changes."""
    native, bsa = build(), build(attention=BSA)
    shapes = [
        {
            k: v.shape
            for k, v in m.named_parameters()
            if '.0.branch.' not in k and '.1.branch.' not in k
        }
        for m in (native, bsa)
    ]
    assert shapes[0] == shapes[1]
    attention = bsa.stages[0][0].branch
    assert attention.q.conv.kernel_size == (1, 1)
    assert attention.k.conv.kernel_size == attention.v.conv.stride == (4, 4)
    assert {type(n).__name__ for n in (attention.attn.q_neuron, attention.attn.out_neuron)} == {
        'TernaryLIFNode'
    }
    assert native.stages[0][0].branch.q is None


@pytest.mark.parametrize(
    'kind',
    [
        'SpikingSelfAttention',
        'SpikeDrivenSelfAttention',
        'SoftmaxAttention',
        'EfficientSpikeDrivenSelfAttention',
        'QKTokenAttention',
        'QKChannelAttention',
    ],
)
def test_other_kinds_fit(kind):
    model = build(attention=dict(type=f'mmbsa.{kind}'), num_steps=2)
    out = model(checks.image((32, 48)))[-1]
    assert out.shape == (2, 2, 24, 2, 3)
    out.square().mean().backward()


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('SpikingResformer', TINY, out_threshold=0.7, num_steps=2)


def test_an_untrained_model_evaluates_to_finite_numbers():
    """The official one divides by firing rates of 0."""
    model = build(num_steps=2).eval()
    with torch.no_grad():
        assert all(out.isfinite().all() for out in model(10 * checks.image()))


def test_scales_follow_the_input_unless_official():
    def lengths(model):
        return [m.length for m in model.modules() if isinstance(m, DualSpikeSelfAttention)]

    assert lengths(build()) == [None] * 3
    assert lengths(build(official_quirks=True, img_size=64)) == [16, 16, 16]
    assert lengths(build(CIFAR, official_quirks=True, img_size=32)) == [64, 64, 16]
    free, fixed = checks.awake(build()), build(official_quirks=True, img_size=64).eval()
    fixed.load_state_dict(free.state_dict())
    with torch.no_grad():
        assert torch.equal(free(checks.image((64, 64)))[-1], fixed(checks.image((64, 64)))[-1])
        assert not torch.equal(free(checks.image((32, 96)))[-1], fixed(checks.image((32, 96)))[-1])


def test_drop_path():
    block = build(drop_path_rate=0.6, num_steps=2).stages[-1][-1]
    with torch.no_grad():
        for parameter in block.branch[2].norm.parameters():
            parameter.fill_(3.0)
    x = torch.ones(2, 64, 24, 2, 2)
    kept = (block.train()(x) != x).flatten(2).any(2)
    assert 0 < kept[0].sum() < 48 and torch.equal(kept[0], kept[1]) and (block.eval()(x) != x).any()


@pytest.mark.parametrize(
    'kwargs, error, words',
    [
        (dict(arch='xl'), KeyError, 'dvsg'),
        (dict(arch=dict(TINY, depths=(1, 1))), ValueError, 'one entry per stage'),
        (dict(arch=dict(TINY, stem='5x5')), ValueError, '5x5'),
        (dict(arch=dict(TINY, group_size=128)), ValueError, '128'),
        (dict(official_quirks=True), ValueError, 'img_size'),
        (dict(arch=dict(TINY, num_heads=(1, 2, 5))), ValueError, 'num_heads=5'),
    ],
)
def test_bad_configs_are_named(kwargs, error, words):
    with pytest.raises(error, match=words):
        build(**kwargs)
