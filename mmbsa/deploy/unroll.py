"""Unrolling of an integer-neuron network into a binary network over D time steps."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.models.encoders import DirectEncoder
from mmbsa.models.layers import TimeReadout
from mmbsa.models.necks import TemporalReadout
from mmbsa.models.neurons import IntegerNode
from mmbsa.spiking import AttentionKind, SpikeDomain, SpikingNeuron, domain_of


def thermometer(counts: Tensor, levels: int) -> Tensor:
    """Convert counts (1, *) in -D .. D to spikes (D, *) in {-1, 0, 1}.

    Step j has a spike if the magnitude of the count is at least j.
    """
    steps = torch.arange(1, levels + 1, device=counts.device).view(-1, *[1] * (counts.dim() - 1))
    return (counts.abs() >= steps).to(counts) * counts.sign()


class UnrolledNode(SpikingNeuron):
    r"""D steps of binary spikes that replace one count; its spikes have the value D / norm.

    The membrane accumulates the currents of all D steps, :math:`U = \frac{1}{D} \sum_t X[t]`. Then
    it fires step by step: step j fires if :math:`U > j - 1/2`, and at a tie as the integer neuron
    rounds (to the even count, or up). This is a neuron with threshold 1 that starts at 1/2 and is
    reset by subtraction.

    Args:
        node: the integer neuron with its D levels.
    """

    no_stream = 'it accumulates the currents of all D steps before its first spike'

    def __init__(self, node: IntegerNode):
        super().__init__()
        self.levels, self.signed, self.value = node.levels, node.signed, node.levels / node.norm
        self.half_up = node.rounding == 'half_up'

    @property
    def domain(self) -> SpikeDomain:
        """Spike domain: 0 and 1 (signed: -1 .. 1) times D / norm."""
        return SpikeDomain(-1 if self.signed else 0, 1, self.value)

    def run(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Run (D, *) currents -> (D, *) spikes.

        Raises:
            ValueError: the number of steps is not D.
        """
        if len(x) != self.levels:
            raise ValueError(f'UnrolledNode: D={self.levels}, but there are {len(x)} steps')
        u, spikes = x.mean(0), []
        for j in range(1, self.levels + 1):
            edge = j - 0.5
            up = (u >= edge) if self.half_up or j % 2 == 0 else (u > edge)
            spike = up.to(u)
            if self.signed:  # halves round up: -j needs a value strictly below -(j - 1/2)
                down = (u <= -edge) if not self.half_up and j % 2 == 0 else (u < -edge)
                spike = spike - down.to(u)
            spikes.append(spike * self.value)
        return torch.stack(spikes), None

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return f'levels={self.levels}, value={self.value:g}, half_up={self.half_up}'


class Collected(nn.Module):
    """A one-step module in the unrolled network: it gets the mean of D steps, and D steps leave it.

    Attention multiplies spikes of q, k and v with each other, so a sum over single steps cannot
    replace it. Neurons that are not integer neurons fire once. Counts are converted by
    :func:`thermometer`; other spikes are repeated.

    Args:
        module: a neuron or an attention kind.
        steps: number of steps D.
    """

    def __init__(self, module: nn.Module, steps: int):
        super().__init__()
        self.module, self.steps = module, steps

    @property
    def domain(self) -> SpikeDomain | None:
        """Spike domain of one step."""
        domain = domain_of(self.module)
        if domain is None or domain.levels == 1:
            return domain
        return SpikeDomain(max(domain.low, -1), 1, domain.unit * self.steps)

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """Run (D, *) inputs -> (D, *) outputs."""
        out = self.module(*(None if x is None else x.mean(0, keepdim=True) for x in inputs))
        domain = domain_of(self.module)
        if domain is None or domain.levels == 1:
            return out.expand(self.steps, *out.shape[1:])
        if domain.levels != self.steps:
            raise ValueError(
                f'unroll: {type(self.module).__name__} emits {domain}, the network has '
                f'D={self.steps}'
            )
        return thermometer((out / domain.unit).round(), self.steps) * (domain.unit * self.steps)


def unroll(model: nn.Module) -> nn.Module:
    """Return a copy of an integer-neuron network that runs D steps of binary spikes.

    The network has T = 1 and D levels. The count k of an integer neuron is the sum of D binary
    spikes, and all layers between neurons are linear, so the mean of a layer's output over D steps
    equals its output for the mean: ``conv(k / D) = mean_j conv(s_j)``. Potentials are equal up to
    the rounding of sums. With weights whose sums are exact, all spikes are equal, one by one.

    Args:
        model: a network of :class:`mmbsa.models.neurons.IntegerNode` with T = 1; it is not changed.

    Returns:
        The copy, in evaluation mode. Its outputs are those of ``model``.

    Raises:
        ValueError: there is no integer neuron, D differs between neurons, T is not 1, or the
            readout is not the mean.
    """
    model = deepcopy(model).eval()
    nodes = {
        name: module for name, module in model.named_modules() if isinstance(module, IntegerNode)
    }
    levels = {node.levels for node in nodes.values()}
    if len(levels) != 1:
        raise ValueError(
            f'unroll: {type(model).__name__} must have integer neurons of one D, found D in '
            f'{sorted(levels)}'
        )
    steps = levels.pop()
    for name, module in model.named_modules():
        if isinstance(module, BaseSpikingBackbone) and (
            module.num_steps != 1 or module.readout not in (None, 'mean')
        ):
            raise ValueError(
                f'unroll: {name or "the backbone"} has num_steps={module.num_steps} and '
                f'readout={module.readout!r}; expected num_steps=1 and readout by the '
                'mean'
            )
        if isinstance(module, TimeReadout | TemporalReadout) and module.mode != 'mean':
            raise ValueError(
                f'unroll: {name} has the readout mode {module.mode!r}; expected the mean'
            )
        if getattr(module, 'num_steps', None) == 1:
            module.num_steps = steps
        if hasattr(module, 'encoder') and not isinstance(module.encoder, DirectEncoder):
            raise ValueError(
                f'unroll: {name}.encoder is {type(module.encoder).__name__}; only '
                'mmbsa.DirectEncoder repeats '
                'the image in every step'
            )
    _replace(model, steps)
    return model


def _replace(module: nn.Module, steps: int) -> None:
    for name, child in module.named_children():
        if isinstance(child, IntegerNode) and type(child).fire is IntegerNode.fire:
            setattr(module, name, UnrolledNode(child))
        elif isinstance(child, AttentionKind | SpikingNeuron):
            setattr(module, name, Collected(child, steps))
        else:
            _replace(child, steps)
