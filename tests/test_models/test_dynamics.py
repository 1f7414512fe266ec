"""Neurons and the surrogate that SpikingJelly does not have."""

import pytest
import torch
from spikingjelly.activation_based import surrogate as sj

from mmbsa.models.neurons import HDLIFNode, HodgkinHuxleyNode, build_neuron, build_surrogate
from mmbsa.models.neurons.gate import Gate


def test_gate_passes_gradients_within_its_window():
    x = torch.tensor([-1.0, -0.49, -0.2, 0.0, 0.3, 0.49, 0.51, 3.0], requires_grad=True)
    spikes = Gate(alpha=2.0)(x)
    spikes.backward(torch.full_like(x, 5.0))
    assert spikes.tolist() == [0, 0, 0, 1, 1, 1, 1, 1] and x.grad.tolist() == [
        0,
        5,
        5,
        5,
        5,
        5,
        0,
        0,
    ]
    same = x.detach().clone().requires_grad_()
    sj.Rect(alpha=1.0)(same).backward(torch.full_like(x, 5.0))
    assert torch.equal(same.grad, x.grad), 'at alpha 2 it is the rectangle of width and height 1'
    primitive = Gate(alpha=2.0, spiking=False)
    assert torch.autograd.gradcheck(
        primitive, torch.tensor([-0.4, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    )


@pytest.mark.parametrize(
    'alias, cls',
    {
        'sigmoid': sj.Sigmoid,
        'atan': sj.ATan,
        'qgate': sj.PiecewiseQuadratic,
        'q-gate': sj.PiecewiseQuadratic,
        'gate': Gate,
        'rectangle': sj.Rect,
        'rect': sj.Rect,
    }.items(),
)
def test_names_of_step(alias, cls):
    built = build_surrogate(dict(type=alias, alpha=3.0))
    assert type(built) is cls and built.alpha == 3.0


def test_qgate_is_the_quadratic_gate():
    """STEP's q-gate: a - a^2 |x| for |x| <= 1/a."""
    x = torch.linspace(-1, 1, 41, requires_grad=True)
    build_surrogate(dict(type='qgate', alpha=2.0))(x).sum().backward()
    torch.testing.assert_close(x.grad, (2 - 4 * x.detach().abs()).clamp(min=0))


def test_mixture_of_one_dynamic_is_that_neuron():
    """With all weight on one gate the mixture is an IF or LIF neuron."""
    x = 2 * torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0))
    for index, inner in (
        (0, dict(type='mmbsa.IFNode')),
        (1, dict(type='mmbsa.LIFNode', tau=3.0)),
        (2, dict(type='mmbsa.LIFNode', tau=3.0)),
    ):
        node = HDLIFNode(tau=3.0)
        with torch.no_grad():
            node.gate.bias.fill_(-100).index_fill_(0, torch.tensor(index), 100)
        assert torch.equal(node(x), build_neuron(inner)(x))
        assert node(x).any()


def test_mixture_is_causal_and_the_same_in_training_and_evaluation():
    torch.manual_seed(0)
    node = HDLIFNode()
    torch.nn.init.normal_(node.gate.weight)
    x = 3 * torch.rand(5, 2, 3, 4, 4)
    out = node(x)
    assert torch.equal(out, node.eval()(x)) and torch.equal(out[:3], node(x[:3])), (
        'a step knows nothing of later ones'
    )
    assert torch.equal(out[:, :1], node(x[:, :1])), 'a sample knows nothing of others'
    shares = HDLIFNode(top_k=2)
    torch.nn.init.normal_(shares.gate.bias)
    weights = shares.shares(torch.randn(5 + 2, 2), 5)
    assert ((weights > 0).sum(1) == 2).all() and torch.allclose(weights.sum(1), torch.ones(5, 2))
    x.requires_grad_()
    node(x).sum().backward()
    assert node.w.grad and node.gate.weight.grad.any() and torch.isfinite(x.grad).all()


@torch.no_grad()
def test_hodgkin_huxley_rests_and_fires_as_the_axon_does():
    """Firing rates of the squid's axon at 6.3 degrees: none below about 6 uA / cm^2, 60 to 80 Hz at
    10."""
    node = HodgkinHuxleyNode(gain=1.0, substeps=100, dt=0.05)  # 5 ms per step
    current = torch.tensor([0.0, 1.0, 10.0, 20.0]).repeat(50, 1)
    rates = node(current)[10:].sum(0) / 0.2
    assert rates[0] == rates[1] == 0
    assert 60 <= rates[2] <= 80 and rates[2] < rates[3] < 110


@torch.no_grad()
def test_hodgkin_huxley_is_at_rest_without_input_and_independent_of_the_step():
    v = torch.full((1,), HodgkinHuxleyNode.REST)
    node = HodgkinHuxleyNode()
    gates = [opening / (opening + closing) for opening, closing in node.rates(v)]
    for _ in range(400):
        v, gates = node.advance(v, gates, torch.zeros(1))
    assert abs(v.item() - node.REST) < 0.1
    fine, coarse = HodgkinHuxleyNode(substeps=100, dt=0.05), HodgkinHuxleyNode(substeps=20, dt=0.25)
    current = torch.full((40, 1), 0.6)
    assert abs(fine(current).sum() - coarse(current).sum()) <= 2 < fine(current).sum()


def test_hodgkin_huxley_at_singular_potentials():
    """The rates of m and n are 0 / 0 at -40 and -55 mV."""
    v = torch.tensor([-40.0, -55.0, -40 + 1e-3], dtype=torch.float64, requires_grad=True)
    rates = torch.stack([rate for pair in HodgkinHuxleyNode.rates(v) for rate in pair])
    assert torch.isfinite(rates).all()
    assert (rates[0, 0].item(), rates[4, 1].item()) == (pytest.approx(1), pytest.approx(0.1))
    assert torch.isfinite(torch.autograd.grad(rates.sum(), v)[0]).all()
    assert torch.autograd.gradcheck(
        lambda u: torch.stack(HodgkinHuxleyNode.rates(u)[0]), (v.detach()[2:].requires_grad_(),)
    )


def test_bad_arguments_are_named():
    for cls, bad, message in (
        (HDLIFNode, dict(tau=1.0), 'tau'),
        (HDLIFNode, dict(top_k=5), 'top_k'),
        (HodgkinHuxleyNode, dict(substeps=0), 'substeps'),
        (HodgkinHuxleyNode, dict(dt=0), 'dt'),
    ):
        with pytest.raises(ValueError, match=message):
            cls(**bad)
    with pytest.raises(KeyError, match='qgate, q-gate, gate, rectangle'):
        build_surrogate('gaussian')


def test_gate_of_the_mixture_has_four_rows_per_step():
    gate = HDLIFNode(kernel_size=5).gate
    assert gate.weight.shape == (4, 1, 5) and gate.bias.shape == (4,)
    assert not gate.weight.any() and not gate.bias.any()


def test_rates_of_hodgkin_and_huxley_are_smooth_at_their_gaps():
    v = torch.cat([torch.linspace(-90, 40, 261), torch.tensor([-40.0001, -54.9999])])
    (m, _), _, (n, _) = HodgkinHuxleyNode.rates(v)
    exact = v.double()
    for found, shift, factor in ((m, 40, 0.1), (n, 55, 0.01)):
        u = exact + shift
        expected = factor * torch.where(u == 0, 10.0, u / -torch.expm1(-u / 10))
        torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-9)
