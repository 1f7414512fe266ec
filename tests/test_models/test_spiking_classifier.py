"""Readouts of official classifiers: neuron, bias, steps, distillation."""
import family_checks as checks
import pytest
import torch

from mmbsa.registry import MODELS

ARCH = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)
BACKBONE = dict(type='mmbsa.ESpikeFormer', arch=ARCH, num_steps=2)
COUNT = dict(type='mmbsa.IntegerNode', levels=4, norm=1)


def build(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='mmbsa.SpikingClassifier', backbone=BACKBONE, num_classes=5, **kwargs))
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


@pytest.mark.parametrize('real_head', [False, True])
def test_distillation(x, real_head):
    """Two heads: both answers in training, their mean in evaluation; the distillation head always reads spikes."""
    model = build(neuron=COUNT, distill=True, real_head=real_head)
    answers = model(x)
    assert isinstance(answers, tuple) and [a.shape for a in answers] == [(3, 5)] * 2
    read = features(model, x)
    spikes = model.neuron(read)
    expected = (model.head(read if real_head else spikes) + model.distill_head(spikes)).mean(0) / 2
    torch.testing.assert_close(model(x), expected)
    assert model.distill_head.weight.shape == model.head.weight.shape


def test_a_real_head_alone_fires_nothing(x):
    model = build(neuron=COUNT, real_head=True)
    torch.testing.assert_close(model.eval()(x), build().eval()(x))
