"""The MLP of the spiking experts mixture mechanism, SEMM (Zhou et al., NeurIPS 2024)."""

import torch
from torch import Tensor, nn

from mmbsa.models.layers.spike_conv import SpikeConv
from mmbsa.models.layers.time import merge_time, split_time
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS


@MODELS.register_module()
class ExpertsMLP(nn.Module):
    """Experts mixture of spiking perceptrons (EMSP): an MLP in which one half of the hidden spikes
    masks the other half.

    Data flow, hidden width D = round(ratio * C)::

        x -> 1x1 conv, norm, neuron -> (T,B,D,H,W) = first half a, second half b
        a -> depth-wise 3x3 conv, norm, neuron -> gate
        gate * b (T,B,D/2,H,W) -> 1x1 conv, norm [, neuron]

    In families with membrane shortcuts the neuron is before the first convolution, and there is
    none at the end.

    Args:
        channels: C, channels of input and output.
        ratio: hidden channels divided by C; default 4.
        neuron: config of all neurons.
        norm_cfg: config of all norms.
        neuron_last: whether the last unit ends with a neuron (spike shortcuts); default False.
        depthwise_bias: whether the depth-wise convolution has a bias (default False); the other
            convolutions have one.

    Raises:
        ValueError: the number of hidden channels is odd.
    """

    def __init__(
        self,
        channels: int,
        ratio: float = 4,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        neuron_last: bool = False,
        depthwise_bias: bool = False,
    ):
        super().__init__()
        hidden = round(channels * ratio)
        if hidden % 2:
            raise ValueError(
                f'ExpertsMLP: mlp_ratio={ratio} gives {hidden} hidden channels for {channels} '
                'channels, but the number must be even'
            )
        unit = dict(neuron=neuron, norm_cfg=norm_cfg, neuron_last=True)
        self.neuron = build_neuron(None if neuron_last else neuron)
        self.fc1 = SpikeConv(channels, hidden, bias=True, **unit)
        self.depthwise = SpikeConv(
            hidden // 2, hidden // 2, 3, groups=hidden // 2, bias=depthwise_bias, **unit
        )
        self.fc2 = SpikeConv(
            hidden // 2, channels, bias=True, **{**unit, 'neuron': neuron if neuron_last else None}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W)."""
        # ``chunk`` of merged maps: its gradient keeps the memory layout, the gradient of an index
        # is contiguous
        gated, gate = merge_time(self.fc1(self.neuron(x))).chunk(2, dim=1)
        layout = torch.channels_last if gate.stride(1) == 1 else torch.contiguous_format
        gated, gate = (
            split_time(half, len(x)) for half in (gated.contiguous(memory_format=layout), gate)
        )
        return self.fc2(self.depthwise(gated) * gate)
