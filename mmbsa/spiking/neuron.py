"""Modules with a state over time that is passed in and returned, never kept."""

from typing import Any

import torch
from torch import Tensor, nn

from mmbsa.spiking.domain import SpikeDomain, checks_spikes
from mmbsa.spiking.marks import mark
from mmbsa.spiking.stream import current_stream


class Stateful(nn.Module):
    """A module over (T, *) tensors whose state is explicit.

    ``forward(x)`` starts at rest and keeps nothing, so two forwards agree, and averaging of
    weights, data parallelism, test-time augmentation and copies are safe. Inside
    :func:`mmbsa.spiking.stream` forward continues from the slot that the stream holds for this
    module.
    """

    #: why the module cannot run step by step, for example because it mixes all steps; None if it
    #: can.
    no_stream: str | None = None

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """(T, *) input and the state after the last step (None: at rest) -> output and the new
        state.

        A state is a tensor, None, a number, or a tuple of these.
        """
        raise NotImplementedError(f'{type(self).__name__} must define run(x, state)')

    def from_rest(self, x: Tensor) -> Tensor:
        """The output of ``run(x)``; a class overrides it where the output alone costs less."""
        return self.run(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """(T, *) -> output of :meth:`run`, from rest."""
        active = None if torch.compiler.is_compiling() else current_stream()
        return self.from_rest(x) if active is None else active.advance(self, x)


class SpikingNeuron(Stateful):
    """A layer of neurons: (T, *) input current -> (T, *) spikes.

    Subclasses define :meth:`run` and ``domain``.
    """

    #: what the neuron may emit; None for real-valued output. An attribute or a property of every
    #: subclass.
    domain: SpikeDomain | None
    #: whether ``domain`` was measured on a neuron that learns: the value of its spikes may change,
    #: and layers behind it keep them as they are.
    domain_may_change: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """(T, *) input current -> (T, *) spikes, from rest.

        Raises:
            ValueError: a spike outside of ``domain``, with ``MMBSA_CHECK_SPIKES=1``.
        """
        spikes = super().forward(x)
        if checks_spikes() and self.domain is not None:
            self.domain.check(spikes, f'spikes of {type(self).__name__}')
        return spikes if self.domain_may_change else mark(spikes, self.domain)


def spiking_neurons(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> module of every layer of neurons that emits spikes; neurons within neurons belong to
    the outer one.

    Modules with ``domain = None`` put out real numbers, membrane potentials for example, and are
    left out.
    """
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        neuron = isinstance(module, SpikingNeuron) or 'no_stream' in vars(
            module
        )  # the latter: from another library
        inner = any(name.startswith(outer + '.') for outer in found)
        if neuron and not inner and module.domain is not None:
            found[name] = module
    return found
