"""Integer neurons of E-SpikeFormer (Spike-driven Transformer V3): integer counts in training,
binary spikes at inference."""

import torch
from torch import Tensor

from mmbsa.ops import integer_spike
from mmbsa.ops.integer_spike import spikes_and_counts
from mmbsa.ops.registration import working_dtype
from mmbsa.registry import MODELS
from mmbsa.spiking import SpikeDomain, SpikingNeuron, counts, mark, may_be_marked


class _TracedSpike(torch.autograd.Function):
    """:func:`mmbsa.ops.integer_spike` as operations that a compiler can trace and fuse.

    No operation works in place, because Dynamo loses the gradient of a function with in-place
    operations.
    """

    @staticmethod
    def forward(
        ctx, u: Tensor, low: float, high: float, norm: float, half_up: bool, inclusive: bool
    ) -> Tensor:
        count = u.clamp(low, high)
        ctx.save_for_backward(count.eq(u) if inclusive else (u > low).logical_and(u < high))
        ctx.norm = norm
        return ((count + 0.5).floor() if half_up else count.round()) / norm

    @staticmethod
    def backward(ctx, grad: Tensor):
        (passing,) = ctx.saved_tensors
        return grad * passing / ctx.norm, None, None, None, None, None


@MODELS.register_module()
class IntegerNode(SpikingNeuron):
    r"""Integer leaky integrate-and-fire neuron, I-LIF (Luo et al., ECCV 2024; SDT-V3, TPAMI 2025).

    .. math:: S[t] = round(clip(U[t], 0, D)) / norm, \quad U[t] = \beta\,(U[t-1] - C[t-1]) + X[t]

    with the count C = S norm. A count k in one training step stands for k unit spikes in D
    inference steps. With T = 1 (the "1 x D" protocol) beta has no effect.

    Args:
        levels: D, the largest count; default 4.
        norm: divisor of the counts; None (default) means ``levels``.
        decay: beta, the share of the remaining membrane potential that the next step keeps; default
            0.25, as in I-LIF.
        rounding: ``'half_even'`` (default) as in ``torch.round`` (SDT-V3 base, SDTrack), or
            ``'half_up'`` (SDT-V3 large).
        window: the gradient is 1/norm where ``0 <= U <= D`` (``'inclusive'``, default) or
            ``0 < U < D`` (``'exclusive'``, SDT-V3 large), and 0 elsewhere.
        detach_reset: whether the reset has no gradient; default True.

    Raises:
        ValueError: ``levels`` < 1, ``norm`` <= 0, ``decay`` is outside [0, 1), or ``rounding`` or
            ``window`` is unknown.
    """

    signed = False

    def __init__(
        self,
        levels: int = 4,
        norm: float | None = None,
        decay: float = 0.25,
        rounding: str = 'half_even',
        window: str = 'inclusive',
        detach_reset: bool = True,
    ):
        super().__init__()
        name = type(self).__name__
        if int(levels) != levels or levels < 1:
            raise ValueError(f'{name}: levels must be an integer >= 1, got {levels}')
        if norm is not None and norm <= 0:
            raise ValueError(f'{name}: norm must be positive, got {norm}')
        if not 0 <= decay < 1:
            raise ValueError(f'{name}: decay must be in [0, 1), got {decay}')
        if rounding not in ('half_even', 'half_up'):
            raise ValueError(f"{name}: rounding must be 'half_even' or 'half_up', got {rounding!r}")
        if window not in ('inclusive', 'exclusive'):
            raise ValueError(f"{name}: window must be 'inclusive' or 'exclusive', got {window!r}")
        self.levels = int(levels)
        self.norm = float(levels if norm is None else norm)
        self.decay = float(decay)
        self.rounding = rounding
        self.window = window
        self.detach_reset = detach_reset

    def fire(self, u: Tensor) -> Tensor:
        """Return the counts divided by ``norm`` for a membrane potential ``u`` of any shape."""
        half_up, inclusive = self.rounding == 'half_up', self.window == 'inclusive'
        if torch.compiler.is_compiling():
            low, high = -float(self.levels) if self.signed else 0.0, float(self.levels)
            return _TracedSpike.apply(u, low, high, self.norm, half_up, inclusive)
        rule = dict(signed=self.signed, norm=self.norm, half_up=half_up, inclusive=inclusive)
        domain = self.domain
        if not may_be_marked(u, domain):
            return integer_spike(u, self.levels, **rule)
        # The next layer keeps the counts for its backward.
        spikes, bytes_of_spikes = spikes_and_counts(u, self.levels, **rule)
        return mark(spikes, domain, bytes_of_spikes)

    @property
    def domain(self) -> SpikeDomain:
        """Counts 0 .. D (signed: -D .. D) times 1 / norm."""
        return counts(self.levels, 1 / self.norm, self.signed)

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Run the neuron over T time steps.

        Args:
            x: input current (T, *).
            state: U - C (*) after the previous step; None (default) starts at 0.

        Returns:
            Counts divided by ``norm`` (T, *), and U - C (*) after the last step. That state is
            float32 (float64 for float64 input), because 16 bits would round it in every step. It is
            None if ``decay`` is 0.
        """
        if self.decay == 0:
            return self.fire(x), None
        spikes, residue = [], state
        for x_t in x.to(working_dtype(x.dtype)):
            u = x_t if residue is None else torch.add(x_t, residue, alpha=self.decay)
            spike = self.fire(u)
            spikes.append(spike.to(x.dtype))
            residue = torch.sub(u, spike.detach() if self.detach_reset else spike, alpha=self.norm)
        return torch.stack(spikes), residue

    def from_rest(self, x: Tensor) -> Tensor:
        """Return the spikes (T, *) for an input current (T, *), from rest; with T = 1 no membrane
        potential is stored."""
        return self.fire(x) if len(x) == 1 else self.run(x)[0]

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return (
            f'levels={self.levels}, norm={self.norm:g}, decay={self.decay:g}, '
            f'rounding={self.rounding}, '
            f'window={self.window}'
        )


@MODELS.register_module()
class SignedIntegerNode(IntegerNode):
    """:class:`IntegerNode` with counts -D .. D instead of 0 .. D **[ours]**.

    With ``levels=1`` it is a ternary neuron with threshold 1/2 and a straight-through gradient. The
    arguments are those of :class:`IntegerNode`.
    """

    signed = True
