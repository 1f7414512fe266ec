"""Static 8-bit graphs: spikes, scores and powers are exact, other tensors near the float graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from family_checks import settled
from tiny_deploy import LIF, Small
from torch import nn

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy import export_int8, export_onnx
from mmbsa.models.neurons import build_neuron
from mmbsa.ops import bipolar_attention

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

TERNARY = dict(type='mmbsa.TernaryLIFNode')


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def graphs(model, x, folder: Path):
    """Write both graphs; return the outputs of both, and the 8-bit graph."""
    export_onnx(model, (x,), folder / 'float.onnx')
    export_int8(folder / 'float.onnx', [(x,)], folder / 'int8.onnx')
    outputs = []
    for name in ('float', 'int8'):
        session = onnxruntime.InferenceSession(
            str(folder / f'{name}.onnx'), providers=['CPUExecutionProvider']
        )
        outputs.append(session.run(None, dict(input_0=x.numpy()))[0])
    return *outputs, onnx.load(folder / 'int8.onnx')


def kinds(graph) -> list[str]:
    return [node.op_type for node in graph.graph.node]


class Products(nn.Module):
    """Products q k^T of the spikes of one neuron."""

    def __init__(self, neuron: dict):
        super().__init__()
        self.neuron = build_neuron(neuron)

    def forward(self, x):
        spikes = self.neuron(x.unsqueeze(0))[0]
        return spikes @ spikes.transpose(-1, -2)


@pytest.mark.parametrize(
    'neuron, channels',
    [
        (LIF, 32),
        (TERNARY, 32),
        (dict(type='mmbsa.IntegerNode', levels=4, norm=1), 15),
        (dict(type='mmbsa.IntegerNode', levels=4, norm=4), 15),
        (dict(type='mmbsa.IntegerNode', levels=4, rounding='half_up'), 15),
        (dict(type='mmbsa.IntegerNode', levels=5, norm=5), 9),
    ],
    ids=['binary', 'ternary', 'counts', 'normalised', 'half_up', 'fifths'],
)
def test_products_of_spikes_are_exact(neuron, channels, tmp_path):
    """Potentials at the halves between two counts belong to the test."""
    x = (draw(2, 6, channels) * 12).round() / 4
    found, exact = (y for y in graphs(Products(neuron), x, tmp_path)[:2])
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=0)
    assert len(np.unique(exact)) > 5


class Steps(Products):
    """The products of two time steps, and the spikes."""

    def forward(self, x):
        spikes = self.neuron(torch.stack([x, -x]))
        return spikes @ spikes.transpose(-1, -2), spikes


def test_products_of_several_steps_are_exact(tmp_path):
    """The spikes are also an output of the graph."""
    exact, found, _ = graphs(Steps(TERNARY), draw(2, 6, 32) * 3, tmp_path)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=0)
    assert len(np.unique(exact)) > 5


def test_products_that_do_not_fit_get_the_measured_range(tmp_path):
    """4 x 4 x 40 is more than 255, and 2 x 128 channels of ternary spikes more than 127."""
    for neuron, channels in ((dict(type='mmbsa.IntegerNode', levels=4), 40), (TERNARY, 128)):
        exact, found, _ = graphs(Products(neuron), draw(2, 6, channels) * 3, tmp_path)
        span = exact.max() - min(exact.min(), 0)
        assert np.abs(found - exact).max() <= 0.51 * span / 255 + 1e-5


def test_integer_neurons_are_rounded_by_the_conversion(tmp_path):
    neuron = dict(type='mmbsa.IntegerNode', levels=4, norm=4)
    *_, graph = graphs(Products(neuron), draw(2, 6, 15), tmp_path)
    assert 'Round' in kinds(onnx.load(tmp_path / 'float.onnx')) and 'Round' not in kinds(graph)
    half_up = dict(type='mmbsa.IntegerNode', levels=4, rounding='half_up')
    *_, graph = graphs(Products(half_up), draw(2, 6, 15), tmp_path)
    assert 'Floor' in kinds(graph)  # QuantizeLinear rounds halves to even


class Attention(nn.Module):
    """Bipolar attention of ternary spikes with the values 0 and 1."""

    def __init__(self):
        super().__init__()
        self.neuron, self.values = build_neuron(TERNARY), build_neuron(LIF)

    def forward(self, x):
        spikes = self.neuron(x.unsqueeze(0))
        return bipolar_attention(spikes, spikes, self.values(x.unsqueeze(0)))[0]


@pytest.mark.parametrize('channels', [24, 64, 72, 100])
def test_shiftmax_of_the_8_bit_graph_has_exact_exponents(channels, tmp_path):
    """Powers from 1 to 2^-7 are exact, smaller ones are 0: 16 keys differ by 16 / 256 at most."""
    exact, found, _ = graphs(Attention(), draw(2, 1, 16, channels) * 2, tmp_path)
    rounding = 0.5 * (exact.max() - exact.min()) / 255
    assert np.abs(found - exact).max() <= rounding + 16 * 2**-8
    assert np.abs(found - exact).mean() < 0.01 and exact.std() > 0.1


def test_int8_of_a_network(tmp_path):
    torch.manual_seed(0)
    model, x = settled(Small()).float(), draw(4, 3, 16, 16)
    exact, found, graph = graphs(model, x, tmp_path)
    assert 0 < np.abs(found - exact).max() < 0.5 * np.abs(exact).max()
    assert kinds(graph).count('QuantizeLinear') >= 8
    (tmp_path / 'text.onnx').write_text('text')
    for name, batches, message in (
        ('float', [], 'there are no batches'),
        ('text', [(x,)], 'text.onnx is not an ONNX file'),
        ('float', [(x, x)], 'has 1 float32 inputs, but batch 0 has'),
        ('float', [(x,), (x.double(),)], 'batch 1 has .*float64'),
        ('float', [(x[..., :15],)], r'cannot be calibrated with inputs of shapes .*16, 15\)'),
    ):
        with pytest.raises(ValueError, match=message):
            export_int8(tmp_path / f'{name}.onnx', batches, tmp_path / 'never.onnx')
    with pytest.raises(FileNotFoundError, match='none.onnx does not exist'):
        export_int8(tmp_path / 'none.onnx', [(x,)], tmp_path / 'never.onnx')
    assert not (tmp_path / 'never.onnx').exists()
