"""The binary network over D steps that an integer-neuron network stands for."""

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
    """Whole counts (1, *) in -D .. D -> spikes (D, *) in {-1, 0, 1}: step j fires where the count
    reaches j."""
    steps = torch.arange(1, levels + 1, device=counts.device).view(-1, *[1] * (counts.dim() - 1))
    return (counts.abs() >= steps).to(counts) * counts.sign()


class UnrolledNode(SpikingNeuron):
    r"""D steps of binary spikes in place of one count; its spikes have the value D / norm.

    The membrane collects the currents of all D steps, :math:`U = \frac{1}{D} \sum_t X[t]`. Then it
    fires step by step: step j fires where :math:`U > j - 1/2`, and at a tie as the integer neuron
    rounds (to the even count, or up). This is a neuron with threshold 1 that starts at 1/2 and is
    reset by subtraction.

    Args:
        node: the integer neuron with its D levels.
    """

    no_stream = 'it collects the currents of all D steps before its first spike'

    def __init__(self, node: IntegerNode):
        super().__init__()
        self.levels, self.signed, self.value = node.levels, node.signed, node.levels / node.norm
        self.half_up = node.rounding == 'half_up'

    @property
    def domain(self) -> SpikeDomain:
        """0 and 1 (signed: -1 .. 1) times D / norm."""
        return SpikeDomain(-1 if self.signed else 0, 1, self.value)

    def run(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """(D, *) currents -> (D, *) spikes.

        Raises:
            ValueError: another number of steps.
        """
        if len(x) != self.levels:
            raise ValueError(f'UnrolledNode: D={self.levels}, but there are {len(x)} steps')
        u, spikes = x.mean(0), []
        for j in range(1, self.levels + 1):
            edge = j - 0.5
            up = (u >= edge) if self.half_up or j % 2 == 0 else (u > edge)
            spike = up.to(u)
            if self.signed:  # halves up: -j is reached below -(j - 1/2) alone
                down = (u <= -edge) if not self.half_up and j % 2 == 0 else (u < -edge)
                spike = spike - down.to(u)
            spikes.append(spike * self.value)
        return torch.stack(spikes), None

    def extra_repr(self) -> str:
        """Levels."""
        return f'levels={self.levels}, value={self.value:g}, half_up={self.half_up}'


class Collected(nn.Module):
    """A module of one step inside the unrolled network: it sees the mean of D steps, its spikes are
    spread over D.

    Attention multiplies spikes of q, k and v with each other, which no sum over single steps can
    replace; neurons that are no integer ones fire once. Counts are spread as a thermometer, other
    spikes are repeated.

    Args:
        module: a neuron or an attention kind.
        steps: D.
    """

    def __init__(self, module: nn.Module, steps: int):
        super().__init__()
        self.module, self.steps = module, steps

    @property
    def domain(self) -> SpikeDomain | None:
        """Of one step."""
        domain = domain_of(self.module)
        if domain is None or domain.levels == 1:
            return domain
        return SpikeDomain(max(domain.low, -1), 1, domain.unit * self.steps)

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """(D, *) inputs -> (D, *)."""
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
    """A copy of an integer-neuron network (T = 1, D levels) that runs D steps of binary spikes.

    The count k of an integer neuron is the sum of D binary spikes, and everything between neurons
    is linear: the mean over D steps of what a layer gives is what it gives for the mean,
    ``conv(k / D) = mean_j conv(s_j)``. Potentials are equal up to the rounding of sums, and with
    weights that sums do not round, so are all spikes, one by one.

    Args:
        model: a network of :class:`mmbsa.models.neurons.IntegerNode` with T = 1; it is not changed.

    Returns:
        The copy, in evaluation mode. Its outputs are those of ``model``.

    Raises:
        ValueError: no integer neuron, several D, T other than 1, or time that is read out otherwise
            than by the mean.
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
                f'readout={module.readout!r}; it must have num_steps=1 and read time out by the '
                'mean'
            )
        if isinstance(module, TimeReadout | TemporalReadout) and module.mode != 'mean':
            raise ValueError(
                f'unroll: {name} reads time out by {module.mode!r}, it must be the mean'
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
