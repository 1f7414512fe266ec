"""Readouts of official classifiers: neuron, bias, steps, distillation."""

import family_checks as checks
import pytest
import torch

from mmbsa.models import backbones
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS

ARCH = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)
BACKBONE = dict(type='mmbsa.ESpikeFormer', arch=ARCH, num_steps=2)
COUNT = dict(type='mmbsa.IntegerNode', levels=4, norm=1)


def build(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type='mmbsa.SpikingClassifier', backbone=BACKBONE, num_classes=5, **kwargs)
    )
    torch.nn.init.normal_(model.head.weight)
    checks.awake(model.backbone)
    return model.train()


@pytest.fixture(scope='module')
def x():
    return 3 * torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def features(model, x):
    """What the heads see, in a mode that moves no statistics."""
    return model.eval().backbone(x)[-1].mean((3, 4))


@pytest.mark.parametrize('neuron', [None, COUNT])
@pytest.mark.parametrize('head_bias', [True, False])
def test_order_of_the_readout(x, neuron, head_bias):
    model = build(neuron=neuron, head_bias=head_bias)
    assert (model.head.bias is not None) == head_bias
    read = features(model, x)
    read = model.neuron(read) if neuron else read
    torch.testing.assert_close(model(x), (read @ model.head.weight.T).mean(0))  # a fresh bias is 0
    if neuron:
        assert torch.equal(read, read.round()) and read.max() > 0


def test_logits_of_every_step(x):
    steps = build(per_step=True).eval()(x)
    assert steps.shape == (2, 3, 5)
    torch.testing.assert_close(steps.mean(0), build().eval()(x))


@pytest.mark.parametrize('distill_neuron', [False, True])
def test_classifier_distils_its_teacher(x, distill_neuron):
    """Two heads: both answers in training, their mean in evaluation; the distillation head always
    reads spikes."""
    model = build(neuron=COUNT, distill=True, distill_neuron=distill_neuron)
    answers = model(x)
    assert isinstance(answers, tuple) and [a.shape for a in answers] == [(3, 5)] * 2
    read = features(model, x)
    spikes = model.neuron(read)
    expected = (model.head(read if distill_neuron else spikes) + model.distill_head(spikes)).mean(
        0
    ) / 2
    torch.testing.assert_close(model(x), expected)
    assert model.distill_head.weight.shape == model.head.weight.shape


LIF = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    detach_reset=True,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
)
#: per family: a preset, the neuron between pooling and head, whether the head has a bias and reads
#: potentials.
READOUTS = {
    'Spikformer': ('cifar-2-384', None, True, False),
    'Spikingformer': ('cifar-2-384', None, True, False),
    'QKFormer': ('cifar-4-384', None, True, False),
    'SpikeDrivenTransformer': ('cifar-2-256', LIF, True, False),
    'MetaSpikeFormer': ('15m', LIF, True, False),
    'ESpikeFormer': ('t', COUNT, True, False),
    'ESpikeFormerLarge': (
        '12-512',
        dict(COUNT, rounding='half_up', window='exclusive'),
        True,
        True,
    ),
    'SpikingResformer': ('cifar', None, False, False),
    'SGLFormer': ('cifar-4-384', None, True, False),
    'SWFormer': ('6-512', LIF, True, False),
}


@pytest.mark.parametrize('distill', [False, True])
@pytest.mark.parametrize('family', READOUTS)
def test_readout_of_the_family(family, distill):
    arch, neuron, bias, distill_neuron = READOUTS[family]
    with torch.device('meta'):
        model = MODELS.build(getattr(backbones, family).classifier_cfg(arch, 7, distill=distill))
    expected = build_neuron(None if distill_neuron and not distill else neuron)
    assert repr(model.neuron) == repr(expected)
    assert (model.head.bias is not None, model.distill_neuron) == (bias, distill_neuron)
    assert model.head.weight.shape == (7, model.backbone.out_channels[-1])
    assert (model.distill_head is not None) == distill and model.backbone.out_indices == (
        len(model.backbone.stages) - 1,
    )
    scales = [key for key, _ in model.named_parameters() if key.endswith('.scale')]
    assert bool(scales) == (family == 'ESpikeFormerLarge'), (
        'its fine-tuned classifiers have layer scales, no others do'
    )


def test_readout_follows_the_neuron_of_the_config():
    model = build(neuron='family')
    assert (model.neuron.levels, model.neuron.norm) == (4, 1)
    eight = MODELS.build(
        dict(
            type='mmbsa.SpikingClassifier',
            num_classes=2,
            backbone=dict(BACKBONE, neuron=dict(type='mmbsa.IntegerNode', levels=8)),
        )
    )
    assert (eight.neuron.levels, eight.neuron.norm) == (8, 1)
    leaky = MODELS.build(
        dict(
            type='mmbsa.SpikingClassifier',
            num_classes=2,
            backbone=dict(BACKBONE, neuron=dict(LIF, tau=3.0)),
        )
    )
    assert type(leaky.neuron).__name__ == 'LIFNode' and leaky.neuron.tau == 3.0
    with pytest.raises(
        ValueError, match="neuron must be 'family', a neuron config or None, got 'LIF'"
    ):
        build(neuron='LIF')


def test_no_classes_leave_what_the_head_would_read(x):
    model = build()
    pre_logits = model.eval().forward_head(model.forward_features(x), pre_logits=True)
    model.head = model.build_head(0)
    assert pre_logits.shape == (3, 16) and torch.equal(model(x), pre_logits)


def test_dropout_takes_the_same_features_in_all_steps():
    model = build(neuron=None, drop_rate=0.5, per_step=True)
    model.head = torch.nn.Identity()
    out = model.forward_head(torch.ones(2, 4, 16, 3, 3))
    assert set(out.unique().tolist()) == {0.0, 2.0} and torch.equal(out[0], out[1])
    assert not torch.equal(out[0, 0], out[0, 1])
    assert torch.equal(model.eval().forward_head(torch.ones(2, 4, 16, 3, 3)), torch.ones(2, 4, 16))


def test_a_real_head_alone_fires_nothing(x):
    model = build(neuron=COUNT, distill_neuron=True)
    torch.testing.assert_close(model.eval()(x), build(neuron=None).eval()(x))
