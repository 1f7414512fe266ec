"""Hook that measures the firing rate of a model during validations."""

import json
from collections import defaultdict
from pathlib import Path

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from mmbsa.registry import HOOKS
from mmbsa.spiking import spiking_neurons
from mmbsa.utils.files import atomic_open


def count_spikes(neuron: nn.Module, out: Tensor) -> Tensor:
    """Return the number of unit spikes in a neuron's output (T, *), of either sign, as a scalar.

    A value ``k * unit`` in the neuron's domain counts as \\|k\\| spikes: the integer neuron of
    E-SpikeFormer emits that many spikes in the D inference steps that replace one training step.

    Args:
        neuron: the neuron, with its domain.
        out: its output.
    """
    return out.detach().abs().sum(dtype=torch.float64) / neuron.domain.unit


@HOOKS.register_module()
class FiringRateHook(Hook):
    """Measure the mean firing rate over all neurons, samples and steps of a validation.

    The rate of a layer is its number of unit spikes divided by the largest number in its domain (D
    for counts up to D).

    The rate is logged as ``firing_rate`` with the metrics of the validation. ``firing_rates.json``
    in the work dir contains the rate of each layer and the number of parameters of the model.

    Args:
        max_batches: number of measured batches per validation and process; None (default) measures
            all.

    Raises:
        ValueError: ``max_batches`` is below 1.
    """

    # before RuntimeInfoHook and LoggerHook, so that they log the rate
    priority = 'VERY_HIGH'

    def __init__(self, max_batches: int | None = None) -> None:
        if max_batches is not None and max_batches < 1:
            raise ValueError(
                f'FiringRateHook: max_batches must be at least 1 or None, got {max_batches}'
            )
        self.max_batches = max_batches
        self._handles: list = []
        self._spikes: dict[str, Tensor] = {}
        self._places: dict[str, int] = {}

    def before_val_epoch(self, runner: Runner) -> None:
        """Add a forward hook to every neuron and set the counts to 0."""
        self._look_away()
        neurons = spiking_neurons(_bare(runner.model))
        self._spikes, self._places = (
            {name: torch.zeros((), dtype=torch.float64) for name in neurons},
            defaultdict(int),
        )
        self._handles = [
            module.register_forward_hook(self._watch(name)) for name, module in neurons.items()
        ]

    def _watch(self, name: str):
        def look(module: nn.Module, inputs: tuple, out: Tensor) -> None:
            with _disable_current_modes():  # EnergyHook must not count this
                spikes = count_spikes(module, out) / module.domain.levels
                self._spikes[name] = self._spikes[name].to(out.device) + spikes
            self._places[name] += out.numel()

        return look

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Remove the forward hooks after ``max_batches`` batches."""
        if self.max_batches is not None and batch_idx + 1 >= self.max_batches:
            self._look_away()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Sum the counts over the processes, log the rate, and write the file."""
        self._look_away()
        model = _bare(runner.model)
        totals = torch.tensor(
            [[self._spikes[name].item(), self._places[name]] for name in self._spikes],
            dtype=torch.float64,
            device=next(model.parameters()).device,
        ).view(-1, 2)
        if len(totals):
            all_reduce(totals)
        spikes, places = totals.cpu().unbind(1)
        rate = (
            (spikes.sum() / places.sum()).item() if places.sum() else None
        )  # a model without neurons has no rate
        if rate is not None:
            runner.message_hub.update_scalar('val/firing_rate', rate)
        if is_main_process():
            layers = {name: (s / p).item() for name, s, p in zip(self._spikes, spikes, places) if p}
            content = dict(
                firing_rate=rate,
                parameters=sum(p.numel() for p in model.parameters()),
                iter=runner.iter,
                layers=layers,
            )
            with atomic_open(Path(runner.work_dir) / 'firing_rates.json') as file:
                file.write(json.dumps(content, indent=1).encode())

    def _look_away(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
