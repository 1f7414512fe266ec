"""The mixture neuron against its equations, and its gate."""

import pytest
import torch

from mmbsa.models.points import MixtureNode
from mmbsa.spiking import BINARY, stream


def neuron(**kwargs):
    torch.manual_seed(0)
    return MixtureNode(channels=3, T=4, **kwargs)


def current(batch=2):
    return torch.randn(4, batch, 3, 5, generator=torch.Generator().manual_seed(2)) + 0.3


def by_equations(node, x):
    """One sample (T, C, N), step by step, with the gate's weights in double precision."""
    logits = (
        node.gate.weight[:, :, 0].double() @ x.flatten(0, 1).double()
        + node.gate.bias.double()[:, None]
    )
    if not node.training:
        least = logits.sort(0).values[-2]
        logits = logits.masked_fill(logits < least, float('-inf'))
    shares = logits.softmax(0)
    lif, eif, plif, integrate = (
        torch.full_like(x[0], rest, dtype=torch.double) for rest in (0, -0.1, 0, 0)
    )
    decay, spikes = torch.sigmoid(node.w.double()), []
    for step in x.double():
        lif, plif, integrate = (
            lif + (step - lif) / 2,
            plif + decay * (step - plif),
            integrate + step,
        )
        eif = eif + (step - eif + (eif - 0.8).exp()) / 2
        lif, plif, integrate = (torch.where(v >= 0.5, 0.0, v) for v in (lif, plif, integrate))
        eif = torch.where(eif >= 0.5, -0.1, eif)
        read = [torch.where(v == 0, 0.5, v) for v in (lif, eif, plif, integrate)]
        spikes.append((sum(share * v for share, v in zip(shares, read)) >= 0.2).float())
    return torch.stack(spikes)


@pytest.mark.parametrize('training', [True, False])
def test_spikes_follow_the_equations(training):
    node, x = neuron().train(training), current()
    out = node(x)
    assert torch.equal(out, torch.stack([by_equations(node, x[:, b]) for b in range(2)], 1))
    assert node.domain == BINARY and 0.05 < out.mean() < 0.95
    assert torch.equal(node(x.unsqueeze(-1)), out.unsqueeze(-1))


def test_samples_do_not_see_each_other_unless_the_official_gate_is_asked_for():
    x = current(batch=3)
    changed = x.clone()
    changed[:, 1:] += 1
    shares = [
        neuron(official_quirks=quirks).shares(v)[:, 0]
        for quirks in (False, True)
        for v in (x, changed)
    ]
    assert torch.equal(shares[0], shares[1]) and not torch.equal(shares[2], shares[3])


def test_gradients_reach_everything():
    node, x = neuron(), current().requires_grad_()
    node(x).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (node.w, node.gate.weight, node.gate.bias, x))


def test_it_does_not_stream_and_says_why():
    with pytest.raises(ValueError, match='reads the inputs of all steps'):
        stream(torch.nn.Sequential(neuron()), current())


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: neuron(tau=1.0), 'tau'),
        (lambda: neuron(top_k=5), 'top_k'),
        (lambda: neuron()(current()[:2]), 'T=4'),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_logit_of_zero_counts_as_absent_with_the_official_mistake_alone():
    """The second largest of the four logits is exactly 0."""
    for quirks in (False, True):
        node = neuron(official_quirks=quirks).eval()
        with torch.no_grad():
            node.gate.weight.zero_()
            node.gate.bias.copy_(torch.tensor([1.0, 0.0, -1.0, -2.0]))
        shares = node.shares(current())[:, 0, 0, 0]
        assert (shares > 0).tolist() == [True, not quirks, False, False]
