"""The mixture neuron of Spiking Point Transformer: a gate mixes four membrane potentials."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.models.neurons import build_surrogate
from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, SpikingNeuron


@MODELS.register_module()
class MixtureNode(SpikingNeuron):
    r"""Hybrid-dynamics neuron (HD-IF): a gate per point mixes the membrane potentials of LIF, EIF,
    PLIF and IF.

    .. math:: U[t] = \sum_e g_e V_e[t], \quad S[t] = \Theta(U[t] - 0.2)

    The charges of the four are

    .. math:: V + \frac{X - V}{\tau}, \quad V + \frac{X - V + e^{V - 0.8}}{\tau}, \quad
              V + \sigma(w)(X - V), \quad V + X

    Each of the four emits a spike at ``v_threshold`` and is reset to 0 (EIF: to -0.1, which is also
    its rest potential). The mixture uses the potentials after the reset; a potential of exactly 0
    is replaced by ``fired_value`` and has no gradient. The gate is a linear layer over the inputs
    of all steps at one point, (T C) -> 4, with a softmax over all four in training and over the
    ``top_k`` largest in evaluation.

    Args:
        channels: C, channels of the input.
        T: number of time steps.
        tau: time constant of LIF and EIF in steps, > 1; default 2.
        v_threshold: threshold of the four potentials; default 0.5.
        mixed_threshold: threshold of the mixture; default 0.2.
        fired_value: value that replaces a potential of exactly 0; default 0.5.
        top_k: number of potentials that are mixed in evaluation, in 1..4; default 2.
        official_quirks: whether to reproduce three mistakes of the published code, which its
            authors have corrected since; default False. The gate reads a time-major tensor as
            batch-first, so that the result of a sample depends on its batch. With one sample, the
            potentials are read in the wrong order of channels. In evaluation a logit of exactly 0
            counts as absent.
        surrogate_function: surrogate gradient, see :func:`mmbsa.models.neurons.build_surrogate`;
            None (default) is a sigmoid with alpha 4.

    Raises:
        ValueError: ``tau`` <= 1, ``top_k`` is outside 1..4, or the input has another T or C.
    """

    domain = BINARY
    no_stream = 'the gate of the mixture neuron reads the inputs of all steps'
    EIF_RESET, EIF_RHEOBASE = -0.1, 0.8

    def __init__(
        self,
        channels: int,
        T: int,
        tau: float = 2.0,
        v_threshold: float = 0.5,
        mixed_threshold: float = 0.2,
        fired_value: float = 0.5,
        top_k: int = 2,
        official_quirks: bool = False,
        surrogate_function: dict | str | nn.Module | None = None,
    ):
        super().__init__()
        if tau <= 1:
            raise ValueError(f'MixtureNode: tau must be larger than 1, got {tau}')
        if not 1 <= top_k <= 4:
            raise ValueError(f'MixtureNode: top_k must be in 1..4, got {top_k}')
        self.channels, self.T, self.tau, self.v_threshold = (
            channels,
            T,
            float(tau),
            float(v_threshold),
        )
        self.mixed_threshold, self.fired_value = float(mixed_threshold), float(fired_value)
        self.top_k, self.official_quirks = top_k, official_quirks
        self.w = nn.Parameter(-torch.tensor(self.tau - 1).log())
        self.gate = nn.Conv1d(T * channels, 4, 1)
        self.surrogate_function = build_surrogate(
            surrogate_function or dict(type='Sigmoid', alpha=4.0)
        )

    def shares(self, x: Tensor) -> Tensor:
        """Return the weights (4, B, 1, N) of the four potentials for an input (T, B, C, N)."""
        steps, batch, channels, total = x.shape
        if (steps, channels) != (self.T, self.channels):
            raise ValueError(
                f'MixtureNode was built for T={self.T} and C={self.channels}, got T={steps} and '
                f'C={channels}'
            )
        rows = (
            x.reshape(batch, -1, total) if self.official_quirks else x.transpose(0, 1).flatten(1, 2)
        )
        logits = self.gate(rows)
        if not self.training:
            largest = torch.zeros_like(logits, dtype=torch.bool)
            largest.scatter_(1, logits.topk(self.top_k, dim=1).indices, True)
            if self.official_quirks:
                largest &= logits != 0
            logits = logits.masked_fill(~largest, float('-inf'))
        return logits.softmax(1).transpose(0, 1).unsqueeze(2)

    def charges(self, x: Tensor, membranes: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the potentials of LIF, EIF, PLIF and IF before the spike.

        Args:
            x: input current (B, C, *) of one step.
            membranes: the four potentials (B, C, *) after the previous step.
        """
        lif, eif, plif, integrate = membranes
        # the exponential would overflow far above the threshold, where the neuron emits a spike in
        # any case
        upswing = (eif - self.EIF_RHEOBASE).clamp(max=20).exp()
        return (
            lif + (x - lif) / self.tau,
            eif + (x - eif + upswing) / self.tau,
            plif + (x - plif) * self.w.sigmoid(),
            integrate + x,
        )

    def read(self, membranes: list[Tensor]) -> Sequence[Tensor]:
        """Return the four potentials (B, C, *) in the order in which they are mixed."""
        if not self.official_quirks or len(membranes[0]) != 1:
            return membranes
        # published: (C, 4, N) in memory, read as (4, C, N)
        return torch.stack([v[0] for v in membranes], 1).view(4, *membranes[0].shape)

    def run(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Run the neuron over T time steps, from rest.

        Args:
            x: input current (T, B, C, N, 1) or (T, B, C, N).
            state: must be None, because the neuron has no state between calls.

        Returns:
            Spikes of the same shape, and None.
        """
        if state is not None:
            raise ValueError(f'MixtureNode cannot continue from a state: {self.no_stream}')
        shares = self.shares(x.flatten(3))
        shares = shares.view(*shares.shape, *[1] * (x.ndim - 4))
        rests = (0.0, self.EIF_RESET, 0.0, 0.0)
        membranes = [torch.full_like(x[0], rest) for rest in rests]
        spikes = []
        for x_t in x:
            charged = self.charges(x_t, membranes)
            # the reset has no gradient, as in all neurons of this model
            membranes = [
                torch.where(h.detach() >= self.v_threshold, torch.full_like(h, rest), h)
                for h, rest in zip(charged, rests)
            ]
            mixed = sum(
                share * v.masked_fill(v.detach() == 0, self.fired_value)
                for share, v in zip(shares, self.read(membranes))
            )
            spikes.append(self.surrogate_function(mixed - self.mixed_threshold))
        return torch.stack(spikes), None

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return (
            f'channels={self.channels}, T={self.T}, tau={self.tau:g}, '
            f'v_threshold={self.v_threshold:g}, '
            f'mixed_threshold={self.mixed_threshold:g}, top_k={self.top_k}'
        )
