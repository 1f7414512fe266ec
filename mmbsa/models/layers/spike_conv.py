"""The unit that spiking transformers are made of: neuron, convolution, norm."""
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmbsa.models.layers.time import merge_time, split_time
from mmbsa.models.neurons import build_neuron


class SpikeConv(nn.Module):
    """neuron -> conv -> norm (pre-activation, membrane shortcuts), or conv -> norm -> neuron.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, bias: of the convolution; padding keeps the size.
        neuron: neuron config, or None for none.
        norm_cfg: norm config in OpenMMLab's terms, or None for none.
        neuron_last: fire after the norm instead of before the convolution (spike shortcuts).
        num_steps: T, for neurons whose parameters depend on it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, *, stride: int = 1, groups: int = 1,
                 bias: bool = False, neuron: dict | None = None, norm_cfg: dict | None = None,
                 neuron_last: bool = False, num_steps: int = 1):
        super().__init__()
        self.neuron_last = neuron_last
        self.neuron = build_neuron(neuron, num_steps)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias)
        self.norm = nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T, B, C', H', W'): potentials, or spikes when the neuron comes last."""
        if not self.neuron_last:
            x = self.neuron(x)
        x = split_time(self.norm(self.conv(merge_time(x))), len(x))
        return self.neuron(x) if self.neuron_last else x


class SepSpikeConv(nn.Sequential):
    """Separable spiking convolution of E-SpikeFormer: 1x1 expand, depth-wise k x k, 1x1 reduce, each neuron -> conv -> norm.

    Args:
        channels: of input and output.
        kernel_size: of the depth-wise convolution.
        ratio: expansion of the channels in between.
    """

    def __init__(self, channels: int, kernel_size: int = 7, ratio: int = 2, **unit):
        hidden = channels * ratio
        super().__init__(
            SpikeConv(channels, hidden, 1, **unit),
            SpikeConv(hidden, hidden, kernel_size, groups=hidden, **unit),
            SpikeConv(hidden, channels, 1, **unit))


class SpikeMLP(nn.Sequential):
    """Two spiking units C -> ratio * C -> C; 1x1 convolutions with bias by default, as all families have them."""

    def __init__(self, channels: int, ratio: float = 4, kernel_size: int = 1, bias: bool = True, **unit):
        hidden = int(channels * ratio)
        super().__init__(
            SpikeConv(channels, hidden, kernel_size, bias=bias, **unit),
            SpikeConv(hidden, channels, kernel_size, bias=bias, **unit))
