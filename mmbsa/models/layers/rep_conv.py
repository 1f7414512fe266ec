"""RepConv of Spike-driven Transformer V2 and V3: a chain of linear layers that is equivalent to one
convolution."""

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmbsa.models.layers.conv import Conv2d, conv2d
from mmbsa.models.layers.time import merge_time, normalise, split_time
from mmbsa.models.neurons import build_neuron


class RepConv(nn.Module):
    """RepConv: neuron -> 1x1 conv -> norm -> depth-wise k x k conv -> 1x1 conv -> norm (-> norm).

    The depth-wise convolution pads the map with the output of the first norm for a zero, so that
    the chain equals one dense convolution of a zero-padded map. As in the official code, the
    padding uses the running statistics, also in training, after their update; it has no gradient.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: k, kernel size of the depth-wise convolution in pixels; default 3. 1 means no
            depth-wise convolution (SDT-V3 large).
        ratio: channels between the two 1x1 convolutions, divided by ``in_channels``; default 1.
        last_norm: whether there is a third norm at the end, as in the projections of q, k, v and
            the output; default True.
        neuron: config of the neuron before the first convolution; None (default) means no neuron.
        norm_cfg: config of a batch norm with running statistics.

    Raises:
        ValueError: the norm has no running statistics, from which the padding is computed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        ratio: float = 1.0,
        last_norm: bool = True,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
    ):
        super().__init__()
        hidden = int(in_channels * ratio)
        norm_cfg = norm_cfg or dict(type='BN')
        self.neuron = build_neuron(neuron)
        self.expand = Conv2d(in_channels, hidden, 1, bias=False)
        self.expand_norm = build_norm_layer(norm_cfg, hidden)[1]
        self.depthwise = None
        if kernel_size > 1:
            if (
                not isinstance(self.expand_norm, _BatchNorm)
                or not self.expand_norm.track_running_stats
            ):
                raise ValueError(
                    'RepConv computes its padding from running statistics, so norm_cfg must be a '
                    f'batch norm with running statistics, got {norm_cfg}'
                )
            self.depthwise = Conv2d(
                hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, bias=False
            )
        self.reduce = Conv2d(hidden, out_channels, 1, bias=False)
        self.reduce_norm = build_norm_layer(norm_cfg, out_channels)[1]
        self.last_norm = build_norm_layer(norm_cfg, out_channels)[1] if last_norm else nn.Identity()

    @property
    def is_merged(self) -> bool:
        """Whether :meth:`fuse` has merged the chain into one convolution."""
        return isinstance(self.expand, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """Return membrane potentials (T, B, C', H, W) for an input (T, B, C, H, W)."""
        x = self.neuron(x)
        num_steps = len(x)
        x = normalise(self.expand_norm, self.expand(merge_time(x)))
        if self.depthwise is not None:
            x = self._bordered_depthwise(x)
        return split_time(
            normalise(self.last_norm, normalise(self.reduce_norm, self.reduce(x))), num_steps
        )

    def _border(self) -> Tensor:
        """Return the padding value of the depth-wise convolution per channel: the output of the
        first norm for a zero."""
        norm = self.expand_norm
        if isinstance(norm, nn.Identity):  # folded, here or by mmcv.cnn.fuse_conv_bn
            return self.expand.bias
        border = -norm.running_mean / (norm.running_var + norm.eps).sqrt()
        if norm.affine:
            border = border * norm.weight.detach() + norm.bias.detach()
        return border

    def _bordered_depthwise(self, x: Tensor) -> Tensor:
        """Compute the depth-wise convolution of x padded by b per channel: conv(pad_b(x)) =
        conv(pad_0(x - b)) + b sum(weight)."""
        weight, border = self.depthwise.weight, self._border().to(x.dtype)
        return conv2d(
            x - border.view(-1, 1, 1),
            weight,
            border * weight.sum((1, 2, 3)).to(x.dtype),
            padding=self.depthwise.padding,
            groups=self.depthwise.groups,
        )

    @torch.no_grad()
    def fuse(self, merge: bool = False) -> None:
        """Fold the batch norms, in eval mode, and with ``merge`` merge the chain, see
        :func:`mmbsa.models.layers.fuse`."""
        for conv, norm in (
            ('expand', 'expand_norm'),
            ('reduce', 'reduce_norm'),
            ('reduce', 'last_norm'),
        ):
            if (
                isinstance(getattr(self, norm), _BatchNorm)
                and getattr(self, norm).track_running_stats
            ):
                setattr(self, conv, fuse_conv_bn_eval(getattr(self, conv), getattr(self, norm)))
                setattr(self, norm, nn.Identity())
        norms = self.expand_norm, self.reduce_norm, self.last_norm
        if not merge or self.is_merged or not all(isinstance(norm, nn.Identity) for norm in norms):
            return  # not requested, already merged, or the norms are not linear in this mode
        expand, reduce = self.expand, self.reduce
        out_channels, hidden = reduce.weight.shape[:2]
        taps = (
            self.depthwise.weight
            if self.depthwise is not None
            else expand.weight.new_ones(hidden, 1, 1, 1)
        )
        size = taps.size(-1)
        self.reduce = Conv2d(
            expand.in_channels,
            out_channels,
            size,
            padding=size // 2,
            device=taps.device,
            dtype=taps.dtype,
        )
        self.reduce.weight.copy_(
            torch.einsum(
                'oh,hyx,hi->oiyx',
                reduce.weight.flatten(1),
                taps.squeeze(1),
                expand.weight.flatten(1),
            )
        )
        self.reduce.bias.copy_(
            reduce.bias + reduce.weight.flatten(1) @ (expand.bias * taps.sum((1, 2, 3)))
        )
        self.expand, self.depthwise = nn.Identity(), None
