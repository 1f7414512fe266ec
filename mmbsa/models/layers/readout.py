"""From the last map of a backbone to logits: pooling, neuron, linear layer in every step, and
readout."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbsa.models.layers.conv import Conv2d
from mmbsa.models.layers.time import TIME_MODES
from mmbsa.models.neurons import build_neuron


class TimeReadout(nn.Module):
    r"""Readout: removes the time axis of a time-major tensor.

    Args:
        mode: ``'mean'`` over the T steps (default), ``'sum'``, ``'max'``, the ``'last'`` step, or
            ``'membrane'``: the membrane potential of a leaky integrator without spikes after the
            last step, from rest: :math:`V[t] = V[t-1] + (x[t] - V[t-1]) / \tau`; later steps have
            larger weights.
        tau: time constant of the integrator in steps, > 1; default 2.

    Raises:
        ValueError: ``mode`` is unknown, or ``tau`` <= 1.
    """

    def __init__(self, mode: str = 'mean', tau: float = 2.0):
        super().__init__()
        if mode not in (*TIME_MODES, 'membrane'):
            raise ValueError(
                f'readout must be one of {", ".join(TIME_MODES)}, membrane, got {mode!r}'
            )
        if tau <= 1:
            raise ValueError(f'readout: tau must be larger than 1, got {tau}')
        self.mode, self.tau = mode, float(tau)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor (*) for an input (T, *)."""
        if self.mode != 'membrane':
            return TIME_MODES[self.mode](x)
        kept = torch.arange(len(x) - 1, -1, -1, device=x.device, dtype=x.dtype)
        weights = (1 - 1 / self.tau) ** kept / self.tau  # the recursion as a sum
        return torch.tensordot(weights, x, 1)

    def extra_repr(self) -> str:
        """Return the mode for ``repr``."""
        return f'mode={self.mode}' + (f', tau={self.tau:g}' if self.mode == 'membrane' else '')


class FullSizeConv(nn.Module):
    """A depth-wise convolution over all positions and steps of a map, and a batch norm (SGLFormer).

    Args:
        channels: C, channels of the map.
        positions: number of positions H * W of the map.
        num_steps: T, the number of time steps.
    """

    no_stream = 'its convolution combines all steps of the sequence'

    def __init__(self, channels: int, positions: int, num_steps: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, (positions, num_steps), groups=channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (1, B, C) for maps (T, B, C, H, W); the result counts as one step in the rest of
        the readout.

        Raises:
            ValueError: the map has another number of positions or another T.
        """
        x = maps.flatten(3).permute(1, 2, 3, 0)  # (B, C, N, T)
        if tuple(x.shape[2:]) != tuple(self.conv.kernel_size):
            raise ValueError(
                f'the full-size convolution of the head needs {self.conv.kernel_size[0]} positions '
                f'and T = {self.conv.kernel_size[1]}, got {x.shape[2]} positions of a '
                f'{maps.shape[3]} x '
                f'{maps.shape[4]} map and T = {x.shape[3]}; set arch.positions={x.shape[2]} (None '
                'for a mean) '
                'and num_steps'
            )
        return self.norm(self.conv(x)).flatten(1).unsqueeze(0)


class SpikingReadout(BaseModule):
    """Classification head: mean over positions, neuron and linear layer in every step, then the
    readout.

    Args:
        in_channels: C, channels of the last map (T, B, C, H, W) of the backbone.
        num_classes: K, number of classes; 0 means no linear layer.
        neuron: config of the neuron between pooling and linear layer; None (default) means a
            real-valued readout.
        head_bias: whether the linear layer has a bias; default True.
        distill: whether to add a second linear layer for distillation by a teacher
            (Meta-SpikeFormer, E-SpikeFormer large). In training its logits are returned too; in
            evaluation the mean of both is returned. Default False.
        distill_neuron: whether the classification layer gets membrane potentials, and only the
            distillation layer gets the neuron's spikes (E-SpikeFormer large); default False.
        time: mode of the readout, or a dict with the arguments of :class:`TimeReadout`; default
            ``'mean'``.
        drop_rate: probability of dropout before the linear layer, with the same features in all
            steps; default 0.
        init_cfg: initialisation config of OpenMMLab; default None.
        full_size: number of positions and T of a :class:`FullSizeConv` that replaces the mean over
            positions; the following layers then get one step. Default None.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        neuron: dict | None = None,
        head_bias: bool = True,
        distill: bool = False,
        distill_neuron: bool = False,
        time: str | dict = 'mean',
        drop_rate: float = 0.0,
        init_cfg: dict | None = None,
        full_size: tuple[int, int] | None = None,
    ):
        super().__init__(init_cfg)
        self.in_channels, self.num_classes = in_channels, num_classes
        self.head_bias, self.distill_neuron, self.drop_rate = head_bias, distill_neuron, drop_rate
        # without a distillation layer no layer reads the neuron's spikes
        self.neuron = build_neuron(None if distill_neuron and not distill else neuron)
        self.full_size = None if full_size is None else FullSizeConv(in_channels, *full_size)
        self.head = self.build_head(num_classes)
        self.distill_head = self.build_head(num_classes) if distill else None
        self.time = TimeReadout(**(dict(mode=time) if isinstance(time, str) else time))

    def build_head(self, num_classes: int) -> nn.Module:
        """Return a new linear layer, or an identity if ``num_classes`` is 0."""
        if num_classes == 0:
            return nn.Identity()
        linear = nn.Linear(self.in_channels, num_classes, bias=self.head_bias)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        if self.head_bias:
            nn.init.zeros_(linear.bias)
        return linear

    def read_steps(self, maps: Tensor, drop: bool = True) -> tuple[Tensor, Tensor]:
        """Return the input of the linear layers in every time step.

        Args:
            maps: last map of the backbone, (T, B, C, H, W).
            drop: whether to apply dropout in training mode; default True.

        Returns:
            The input of the classification layer, and the spikes of the readout's neuron, (T, B, C)
            each, or (1, B, C) if ``full_size`` is set.
        """
        features = maps.flatten(3).mean(3) if self.full_size is None else self.full_size(maps)
        # as maps of one position, because some of SpikingJelly's neurons (for example gated LIF)
        # need (T, B, C, H, W)
        spikes = self.neuron(features[..., None, None])[..., 0, 0]
        read = features if self.distill_neuron else spikes
        return (self._drop(read), self._drop(spikes)) if drop else (read, spikes)

    def step_logits(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits (T, B, K) of every step, and those of the distillation layer or None.

        Args:
            maps: last map of the backbone, (T, B, C, H, W).
        """
        read, spikes = self.read_steps(maps)
        return self.head(read), None if self.distill_head is None else self.distill_head(spikes)

    def _drop(self, features: Tensor) -> Tensor:
        if not self.drop_rate or not self.training:
            return features
        return features * F.dropout(torch.ones_like(features[0]), self.drop_rate)
