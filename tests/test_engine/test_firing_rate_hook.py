"""Firing rates of binary, ternary and integer neurons, against counts by hand."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from torch import nn

import mmbsa.models  # noqa: F401  (registers the neurons)
from mmbsa.engine import FiringRateHook
from mmbsa.engine.firing_rate_hook import spiking_neurons
from mmbsa.registry import HOOKS, MODELS

LIF = dict(type='mmbsa.LIFNode', tau=2.0, v_threshold=0.5)


class Net(nn.Module):
    """Neurons side by side on one input, and what must not be counted: a readout's potentials."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.binary = nn.Sequential(MODELS.build(LIF))
        self.ternary = MODELS.build(dict(type='mmbsa.TernaryLIFNode', tau=2.0, v_threshold=0.5))
        self.integer = MODELS.build(dict(type='mmbsa.IntegerNode', levels=4))
        self.counts = MODELS.build(dict(type='mmbsa.IntegerNode', levels=4, norm=1))
        self.signed = MODELS.build(dict(type='mmbsa.SignedIntegerNode', levels=2))
        self.readout = MODELS.build(dict(type='mmbsa.NonSpikingLIFNode', tau=2.0))

    def forward(self, x):
        x = x * self.scale
        return [
            module(x)
            for module in (
                self.binary,
                self.ternary,
                self.integer,
                self.counts,
                self.signed,
                self.readout,
            )
        ]


@pytest.fixture
def runner(tmp_path):
    name = f'firing_rate_{tmp_path.name}'
    return SimpleNamespace(
        model=Net().eval(),
        message_hub=MessageHub.get_instance(name),
        work_dir=str(tmp_path),
        iter=7,
    )


def measure(hook, runner, batches):
    outs = []
    hook.before_val_epoch(runner)
    for index, batch in enumerate(batches):
        outs.append(runner.model(batch))
        hook.after_val_iter(runner, index)
    hook.after_val_epoch(runner, {})
    return outs


def test_rates_are_those_counted_by_hand(runner, tmp_path):
    torch.manual_seed(0)
    batches = [torch.randn(3, 2, 5) * 2, torch.randn(3, 4, 5) * 2]
    outs = measure(FiringRateHook(), runner, batches)
    noted = json.loads((tmp_path / 'firing_rates.json').read_text())
    both = [torch.cat([out[i].flatten() for out in outs]).abs() for i in range(5)]
    spikes = [both[0], both[1], both[2] * 4 / 4, both[3] / 4, both[4] * 2 / 2]
    assert (
        set(outs[0][1].unique().tolist()) == {-1, 0, 1}
        and both[3].max() == 4
        and both[2].max() == 1
    )
    expected = [spike.double().mean().item() for spike in spikes]
    assert list(noted['layers']) == ['binary.0', 'ternary', 'integer', 'counts', 'signed']
    assert list(noted['layers'].values()) == pytest.approx(expected)
    assert noted['layers']['integer'] == pytest.approx(noted['layers']['counts']), (
        'the norm changes no spike'
    )
    assert noted['firing_rate'] == pytest.approx(sum(expected) / 5) and noted['iter'] == 7
    assert noted['parameters'] == sum(p.numel() for p in runner.model.parameters()) == 1
    assert runner.message_hub.get_scalar('val/firing_rate').current() == pytest.approx(
        noted['firing_rate']
    )
    assert not any(module._forward_hooks for module in runner.model.modules()), (
        'nothing is left behind'
    )


def test_a_validation_that_was_stopped_leaves_no_counts(runner, tmp_path):
    hook, batch = FiringRateHook(), torch.randn(3, 2, 5)
    hook.before_val_epoch(runner)
    runner.model(batch)  # no after_val_epoch: an error stopped it
    measure(hook, runner, [batch])
    once = json.loads((tmp_path / 'firing_rates.json').read_text())
    measure(FiringRateHook(), runner, [batch])
    assert once == json.loads((tmp_path / 'firing_rates.json').read_text())
    assert not any(module._forward_hooks for module in runner.model.modules())


def test_layers_weigh_as_many_neurons_as_they_have(runner, tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
            self.wide, self.narrow = MODELS.build(LIF), MODELS.build(LIF)

        def forward(self, x):
            return self.wide(x), self.narrow(torch.zeros_like(x[..., :1]))

    runner.model = Two()
    ((wide, _),) = measure(FiringRateHook(), runner, [torch.full((2, 3, 9), 2.0)])
    assert wide.mean() == 1
    assert json.loads((tmp_path / 'firing_rates.json').read_text())['firing_rate'] == pytest.approx(
        0.9
    )


def test_max_batches(runner, tmp_path):
    loud, silent = torch.full((2, 2, 5), 9.0), torch.zeros(2, 2, 5)
    measure(FiringRateHook(max_batches=1), runner, [loud, silent])
    assert json.loads((tmp_path / 'firing_rates.json').read_text())['layers']['binary.0'] == 1
    with pytest.raises(ValueError, match='max_batches'):
        FiringRateHook(max_batches=0)


def test_a_model_without_neurons_has_no_rate(runner, tmp_path):
    runner.model = nn.Linear(2, 3)
    measure(FiringRateHook(), runner, [torch.zeros(1, 2)])
    noted = json.loads((tmp_path / 'firing_rates.json').read_text())
    assert noted == dict(firing_rate=None, parameters=9, iter=7, layers={})


def test_every_neuron_of_a_backbone_is_found():
    model = MODELS.build(
        dict(
            type='mmbsa.Spikingformer',
            arch=dict(embed_dims=16, depth=1, num_heads=2),
            num_steps=2,
            attention=dict(type='mmbsa.BipolarSelfAttention'),
        )
    )
    names = [type(module).__name__ for module in spiking_neurons(model).values()]
    everything = [m for m in model.modules() if type(m).__name__ in ('LIFNode', 'TernaryLIFNode')]
    assert len(names) == len(everything) and names.count('TernaryLIFNode') == 3


def test_it_is_a_hook_of_the_registry():
    hook = HOOKS.build(dict(type='mmbsa.FiringRateHook', max_batches=2))
    assert isinstance(hook, Hook) and hook.max_batches == 2
