"""RepConv of Spike-driven Transformer V2 and V3: a chain of linear layers that could be merged into one convolution."""
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.models.layers.time import merge_time, split_time
from mmbsa.models.neurons import build_neuron


class RepConv(nn.Module):
    """neuron -> 1x1 conv -> norm -> depth-wise k x k conv -> 1x1 conv -> norm (-> norm), without a neuron in between.

    Around the map, the depth-wise convolution sees what the first norm makes of a zero, so that the chain equals one
    dense convolution of a zero-padded map. As in the official code that border comes from the running statistics, also
    in training, where they have just been updated; no gradient flows through it.

    Args:
        in_channels, out_channels: of the unit.
        kernel_size: k of the depth-wise convolution; 1 leaves it out (SDT-V3 large).
        ratio: channels between the two 1x1 convolutions, as a multiple of ``in_channels``.
        last_norm: a second norm behind the second one; projections of q, k, v and the output have it.
        neuron: config of a neuron in front, or None.
        norm_cfg: config of a batch norm.
        num_steps: T.

    Raises:
        ValueError: a norm without running statistics, which has no defined border.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 3, ratio: float = 1.0,
                 last_norm: bool = True, neuron: dict | None = None, norm_cfg: dict | None = None, num_steps: int = 1):
        super().__init__()
        hidden = int(in_channels * ratio)
        norm_cfg = norm_cfg or dict(type='BN')
        self.neuron = build_neuron(neuron, num_steps)
        self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.expand_norm = build_norm_layer(norm_cfg, hidden)[1]
        self.depthwise = None
        if kernel_size > 1:
            if not isinstance(self.expand_norm, _BatchNorm) or not self.expand_norm.track_running_stats:
                raise ValueError('RepConv pads with what its batch norm makes of a zero, so norm_cfg must be a batch '
                                 f'norm with running statistics; got {norm_cfg}')
            self.depthwise = nn.Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, bias=False)
        self.reduce = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.reduce_norm = build_norm_layer(norm_cfg, out_channels)[1]
        self.last_norm = build_norm_layer(norm_cfg, out_channels)[1] if last_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> potentials (T, B, C', H, W)."""
        x = self.neuron(x)
        num_steps = len(x)
        x = self.expand_norm(self.expand(merge_time(x)))
        if self.depthwise is not None:
            x = self._bordered_depthwise(x)
        return split_time(self.last_norm(self.reduce_norm(self.reduce(x))), num_steps)

    def _bordered_depthwise(self, x: Tensor) -> Tensor:
        """Depth-wise convolution of x padded by b per channel: conv(pad_b(x)) = conv(pad_0(x - b)) + b sum(weight)."""
        norm, weight = self.expand_norm, self.depthwise.weight
        border = -norm.running_mean / (norm.running_var + norm.eps).sqrt()
        if norm.affine:
            border = border * norm.weight.detach() + norm.bias.detach()
        border = border.to(x.dtype)
        return F.conv2d(x - border.view(-1, 1, 1), weight, border * weight.sum((1, 2, 3)).to(x.dtype),
                        padding=self.depthwise.padding, groups=self.depthwise.groups)
