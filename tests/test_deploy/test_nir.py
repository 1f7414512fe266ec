import numpy as np
import pytest
import torch
from family_checks import settled
from tiny_deploy import LIF
from torch import nn

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy import export_nir
from mmbsa.models.layers import Residual, SpikeConv, SpikingReadout, fuse
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import SpikingNeuron

nir = pytest.importorskip('nir')


class ConvNet(nn.Module):
    """Stem, pooled and depth-wise convolutions, a residual branch, a readout; T = 3."""

    def __init__(self, neuron):
        super().__init__()
        unit = dict(norm_cfg=dict(type='BN'), neuron=neuron)
        self.stem = SpikeConv(3, 8, 3, stride=2, **{**unit, 'neuron': None})
        self.pooled = SpikeConv(8, 8, 3, pool='before', **unit)
        self.branch = Residual(
            nn.Sequential(
                SpikeConv(8, 8, 3, groups=8, **unit), SpikeConv(8, 8, 1, bias=True, **unit)
            ),
            8,
        )
        self.readout = SpikingReadout(8, 5, neuron=neuron)

    def forward(self, x):
        x = self.branch(self.pooled(self.stem(x.unsqueeze(0).expand(3, *x.shape))))
        logits, _ = self.readout.step_logits(x)
        return self.readout.time(logits)


def network(neuron):
    torch.manual_seed(0)
    return fuse(settled(ConvNet(neuron)).float())


class Simulator:
    """Runs a NIR graph step by step: the equations of its nodes, discretised as SpikingJelly
    does."""

    def __init__(self, path):
        self.graph = nir.read(path, type_check=False)
        self.v, self.spikes = {}, {}

    def neuron(self, name, node, x):
        dt = 1e-4
        rest = torch.from_numpy(node.v_reset).reshape(node.v_reset.shape)
        v = self.v.get(name, rest.expand_as(x))
        r, threshold = torch.from_numpy(node.r), torch.from_numpy(node.v_threshold)
        if isinstance(node, nir.IF):
            h = v + dt * r * x
        else:
            h = v + dt / torch.from_numpy(node.tau) * (torch.from_numpy(node.v_leak) - v + r * x)
        assert node.metadata['fires'] in ('v >= v_threshold', b'v >= v_threshold')
        spikes = (h >= threshold).float()
        self.v[name] = torch.where(spikes > 0, rest.expand_as(h), h)
        self.spikes.setdefault(name, []).append(spikes)
        return spikes

    def apply(self, name, node, x):
        f = nn.functional
        if isinstance(node, nir.Conv2d):
            pairs = [
                tuple(int(v) for v in np.broadcast_to(np.array(p), 2))
                for p in (node.stride, node.padding, node.dilation)
            ]
            return f.conv2d(
                x,
                torch.from_numpy(node.weight),
                torch.from_numpy(node.bias),
                *pairs,
                int(node.groups),
            )
        if isinstance(node, nir.Affine):
            return x @ torch.from_numpy(node.weight).T + torch.from_numpy(node.bias)
        if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
            kernel, stride, padding = (
                tuple(int(v) for v in p) for p in (node.kernel_size, node.stride, node.padding)
            )
            mean = f.avg_pool2d(x, kernel, stride, padding)
            return mean * kernel[0] * kernel[1] if isinstance(node, nir.SumPool2d) else mean
        if isinstance(node, nir.Threshold):
            return (x > torch.from_numpy(node.threshold)).float()
        if isinstance(node, nir.Flatten):
            return x.flatten(1)
        return self.neuron(name, node, x) if isinstance(node, nir.LIF | nir.IF) else x

    def step(self, x):
        edges, done = list(self.graph.edges), {}
        waiting = dict(self.graph.nodes)
        while waiting:
            ready = [n for n in waiting if all(a in done for a, b in edges if b == n)]
            assert ready, 'a cycle'
            for name in ready:
                sources = [done[a] for a, b in edges if b == name]
                done[name] = self.apply(name, waiting.pop(name), sum(sources) if sources else x)
        return next(
            done[name] for name, node in self.graph.nodes.items() if isinstance(node, nir.Output)
        )


@pytest.mark.parametrize(
    'neuron',
    [LIF, dict(LIF, tau=3.0, decay_input=False), dict(LIF, type='mmbsa.IFNode', tau=...)],
    ids=['lif', 'no_decay', 'if'],
)
def test_spikes_of_the_file_are_those_of_the_model(neuron, tmp_path):
    neuron = {key: value for key, value in neuron.items() if value is not ...}
    model, x = (
        network(neuron),
        2 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
    )
    spikes = {}
    for name, module in model.named_modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_hook(
                lambda m, args, out, name=name: spikes.setdefault(name.replace('.', '_'), out)
            )
    export_nir(model, (x[:1],), tmp_path / 'm.nir')
    spikes.clear()
    simulator = Simulator(tmp_path / 'm.nir')
    with torch.no_grad():
        expected = model(x)
        found = torch.stack([simulator.step(x) for _ in range(3)]).mean(0)
    assert set(simulator.spikes) == set(spikes) and len(spikes) == 4
    for name, out in spikes.items():
        assert (
            torch.equal(torch.stack(simulator.spikes[name]).reshape(out.shape), out) and out.any()
        ), name
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_nir_cannot_say_is_listed(tmp_path):
    cls = MODELS.get('mmbsa.Spikformer')
    model = MODELS.build(
        cls.classifier_cfg(
            cls.small_arch, 10, num_steps=2, attention=dict(type='mmbsa.BipolarSelfAttention')
        )
    )
    with pytest.raises(ValueError) as error:
        export_nir(model, (torch.zeros(1, 3, 32, 32),), tmp_path / 'm.nir')
    words = str(error.value)
    assert (
        'SpikingClassifier cannot be written as NIR' in words and 'mmbsa.bipolar_attention' in words
    )
    assert words.count('ternary spikes') >= 2 and 'q_neuron' in words
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'neuron, words',
    [
        (dict(LIF, v_reset=None), 'reset by subtraction'),
        (dict(type='mmbsa.IntegerNode', levels=4), '0 .an integer neuron'),
        (dict(type='mmbsa.TernaryLIFNode'), 'ternary spikes'),
    ],
)
def test_neurons_without_a_word_in_nir(neuron, words, tmp_path):
    net = Views(lambda m, x: m.neuron(m.first(x)[None]))
    net.neuron = build_neuron(neuron)
    with pytest.raises(ValueError, match=words.replace('0 .', 'neuron .')):
        export_nir(net, (torch.zeros(1, 3, 8, 8),), tmp_path / 'm.nir')
    assert not list(tmp_path.iterdir())


class Views(nn.Module):
    """A function between two convolutions and a neuron."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.neuron, self.function = build_neuron(LIF), function

    def forward(self, x):
        return self.function(self, x)


def shuffle(x):
    return x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize(
    'function, words',
    [
        (lambda m, x: m.second(shuffle(m.first(x))), 'transpose.int selects or reorders'),
        (lambda m, x: m.second(m.first(x)[..., 2:]), 'slice.Tensor selects or reorders'),
        (lambda m, x: m.neuron(m.first(x).expand(3, *x.shape[:1], 8, 6, 6))[-1], 'select.int'),
        (lambda m, x: m.first(x) + m.first(x).clone() * 2, 'aten.mul.Tensor'),
        (lambda m, x: (y := m.first(x)) + y, 'a value is added to itself'),
        (
            lambda m, x: nn.functional.max_pool2d(
                m.neuron(m.first(x)[None])[0], 2, ceil_mode=True, padding=1
            ),
            'dilation and ceil_mode',
        ),
        (
            lambda m, x: m.neuron(m.neuron(m.first(x).expand(3, 1, 8, 6, 6)).mean(0)[None]),
            'a neuron after a mean over time',
        ),
        (lambda m, x: m.first(x).mean(0), 'a mean over axes'),
        (
            lambda m, x: m.first.bias[:, None, None].expand_as(m.first(x)),
            'a constant and the input',
        ),
    ],
)
def test_what_would_change_the_network_is_refused(function, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_nir(Views(function), (torch.zeros(1, 3, 8, 8),), tmp_path / 'm.nir')
    assert not list(tmp_path.iterdir())


def test_time_of_the_output_is_stated(tmp_path):
    def steps(m, x):
        return m.neuron(m.first(x).expand(3, 1, 8, 6, 6))

    for function, time in (
        (lambda m, x: m.second(steps(m, x).flatten(0, 1)), 'every step'),
        (lambda m, x: m.second(steps(m, x).mean(0)), 'mean over steps'),
    ):
        graph = export_nir(Views(function), (torch.zeros(1, 3, 8, 8),), tmp_path / 'm.nir')
        (out,) = (node for node in graph.nodes.values() if isinstance(node, nir.Output))
        assert out.metadata['time'] == time


def test_maps_are_flattened_before_a_linear_layer(tmp_path):
    torch.manual_seed(0)
    net = Views(lambda m, x: m.second(m.neuron(m.first(x)[None])[0].flatten(1)))
    net.second = nn.Linear(8 * 6 * 6, 5)
    export_nir(net, (torch.zeros(1, 3, 8, 8),), tmp_path / 'm.nir')
    nir.read(tmp_path / 'm.nir', type_check=True)
    x = 3 * torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(Simulator(tmp_path / 'm.nir').step(x), net(x))


def test_inputs_with_a_time_axis_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'one input \(B, C, H, W\), got .*2, 3, 8, 8'):
        export_nir(Views(lambda m, x: x), (torch.zeros(1, 2, 3, 8, 8),), tmp_path / 'm.nir')


def test_attention_of_integer_neurons_is_listed(tmp_path):
    cls = MODELS.get('mmbsa.ESpikeFormer')
    model = MODELS.build(cls.classifier_cfg(cls.small_arch, 10, num_steps=1))
    with pytest.raises(ValueError, match='bipolar_attention'):
        export_nir(model, (torch.zeros(1, 3, 32, 32),), tmp_path / 'm.nir')
