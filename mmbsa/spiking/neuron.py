"""Modules with a state over time; the state is an argument and a result, never an attribute."""

from typing import Any

import torch
from torch import Tensor, nn

from mmbsa.spiking.domain import SpikeDomain, checks_spikes
from mmbsa.spiking.marks import mark
from mmbsa.spiking.stream import current_stream


class Stateful(nn.Module):
    """Base class of modules over (T, *) tensors with an explicit state.

    ``forward(x)`` starts at rest and stores nothing in the module. Two calls with the same input
    give the same output, and weight averaging, data parallelism, test-time augmentation and copies
    of the module are safe. Inside :func:`mmbsa.spiking.stream` ``forward`` continues from the state
    that the stream holds for this module.
    """

    #: why the module cannot run step by step, for example because it mixes all steps; None if it
    #: can.
    no_stream: str | None = None

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run the module over T time steps.

        Args:
            x: input (T, *).
            state: the state after the previous step: a tensor, None, a number, or a tuple of these;
                None (default) starts at rest.

        Returns:
            The output (T, *), and the state after the last step.
        """
        raise NotImplementedError(f'{type(self).__name__} must define run(x, state)')

    def from_rest(self, x: Tensor) -> Tensor:
        """Return the output of ``run(x)`` from rest, without the state; a class may override it
        with cheaper code."""
        return self.run(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of :meth:`run` for an input (T, *), from rest."""
        active = None if torch.compiler.is_compiling() else current_stream()
        return self.from_rest(x) if active is None else active.advance(self, x)


class SpikingNeuron(Stateful):
    """Base class of neuron layers: input current (T, *) to spikes (T, *).

    Subclasses define :meth:`run` and ``domain``.
    """

    #: the values that the neuron may emit; None for real-valued output. Every subclass defines it
    #: as an attribute or a property.
    domain: SpikeDomain | None
    #: whether ``domain`` was measured on a neuron with learnable parameters. The value of a spike
    #: may then change, so the next layers do not keep the spikes as bytes.
    domain_may_change: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, *) for an input current (T, *), from rest.

        Raises:
            ValueError: a spike is outside of ``domain``; checked only if ``MMBSA_CHECK_SPIKES=1``.
        """
        spikes = super().forward(x)
        if checks_spikes() and self.domain is not None:
            self.domain.check(spikes, f'spikes of {type(self).__name__}')
        return spikes if self.domain_may_change else mark(spikes, self.domain)


def spiking_neurons(model: nn.Module) -> dict[str, nn.Module]:
    """Return all neuron layers of a model that emit spikes, as a dict of module name to module.

    Neurons inside of another neuron are not listed. Modules with ``domain = None`` emit real
    numbers, for example membrane potentials, and are not listed.
    """
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        neuron = isinstance(module, SpikingNeuron) or 'no_stream' in vars(
            module
        )  # the second case: a neuron of another library
        inner = any(name.startswith(outer + '.') for outer in found)
        if neuron and not inner and module.domain is not None:
            found[name] = module
    return found
