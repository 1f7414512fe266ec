"""The basic unit of spiking transformers: neuron, convolution, norm."""

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmbsa.models.layers.conv import Conv2d
from mmbsa.models.layers.pool import MaxPool2d
from mmbsa.models.layers.time import map_steps, norm_of_copies
from mmbsa.models.neurons import build_neuron
from mmbsa.spiking import add


def max_pool() -> MaxPool2d:
    """Return the pooling of all spiking tokenizers: 3 x 3, stride 2; a side of n pixels becomes
    ceil(n / 2)."""
    return MaxPool2d(3, stride=2, padding=1)


class SpikeConv(nn.Module):
    """Unit of neuron, convolution and norm: the neuron comes first (default) or last.

    neuron -> conv -> norm is used with membrane shortcuts, conv -> norm -> neuron with spike
    shortcuts. Input and output are (T, B, C, H, W).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: kernel size in pixels, an int or a pair; default 1.
        stride: stride of the convolution in pixels; default 1.
        padding: zeros at every border; None (default) keeps the size at stride 1.
        groups: number of groups of the convolution, default 1.
        bias: whether the convolution has a bias, default False.
        neuron: neuron config; None (default) means no neuron.
        norm_cfg: norm config of OpenMMLab; None (default) means no norm.
        neuron_last: True puts the neuron after the norm; default False.
        pool: where :func:`max_pool` halves the map: ``'before'`` the convolution (for a neuron that
            comes first), ``'after'`` the norm (for a neuron that comes last), or None (default).

    Raises:
        ValueError: ``pool`` is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 1,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        neuron_last: bool = False,
        pool: str | None = None,
    ):
        super().__init__()
        if pool not in (None, 'before', 'after'):
            raise ValueError(f"SpikeConv: pool must be 'before', 'after' or None, got {pool!r}")
        self.neuron_last = neuron_last
        self.neuron = build_neuron(neuron)
        if padding is None:
            padding = (
                kernel_size // 2
                if isinstance(kernel_size, int)
                else tuple(side // 2 for side in kernel_size)
            )
        self.conv = Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias
        )
        self.norm = (
            nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, out_channels)[1]
        )
        self.pool = max_pool() if pool else nn.Identity()
        self.pool_first = pool == 'before'

    def forward(self, x: Tensor) -> Tensor:
        """Return (T, B, C', H', W') for an input (T, B, C, H, W): membrane potentials, or spikes if
        the neuron comes last."""
        if not self.neuron_last:
            x = self.neuron(x)
        x = map_steps(self.project, x)
        return self.neuron(x) if self.neuron_last else x

    def project(self, x: Tensor, copies: int = 1) -> Tensor:
        """Apply convolution and norm to maps without time axis.

        Args:
            x: T * B maps (T * B, C, H, W), or B maps (B, C, H, W) that each stand for ``copies``
                equal steps.
            copies: number of equal steps per map; default 1.

        Returns:
            As many maps with C' channels.
        """
        x = self.conv(self.pool(x) if self.pool_first else x)
        x = norm_of_copies(self.norm, x, copies)
        return x if self.pool_first else self.pool(x)

    def fuse(self) -> None:
        """Fold a batch norm in eval mode into the convolution, see
        :func:`mmbsa.models.layers.fuse`."""
        if isinstance(self.norm, _BatchNorm) and self.norm.track_running_stats:
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class SepSpikeConv(nn.Sequential):
    """Separable spiking convolution: 1x1, depth-wise k x k and 1x1 convolution; each unit is neuron
    -> conv -> norm.

    Args:
        channels: channels of input and output.
        kernel_size: k, kernel size of the depth-wise convolution in pixels; default 7.
        ratio: channels in between, divided by ``channels``; default 2.
        fused: whether there is no norm and no neuron between the depth-wise and the last
            convolution, as in Meta-SpikeFormer (SDT-V2); default False, as in E-SpikeFormer
            (SDT-V3).
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

    def __init__(
        self, channels: int, kernel_size: int = 7, ratio: int = 2, fused: bool = False, **unit
    ):
        hidden = channels * ratio
        super().__init__(
            SpikeConv(channels, hidden, 1, **unit),
            SpikeConv(
                hidden,
                hidden,
                kernel_size,
                groups=hidden,
                **{**unit, **(dict(norm_cfg=None) if fused else {})},
            ),
            SpikeConv(hidden, channels, 1, **{**unit, **(dict(neuron=None) if fused else {})}),
        )


class SpikeMLP(nn.Sequential):
    """Spiking MLP: two units of neuron, convolution and norm, with C -> ratio * C -> C channels.

    Args:
        channels: C, channels of input and output.
        ratio: hidden channels divided by C; default 4.
        kernel_size: kernel size of both convolutions in pixels; default 1.
        bias: whether both convolutions have a bias; default True, as in all families.
        inner_shortcut: whether each unit has its own shortcut, in addition to that of the caller;
            needs ``ratio=1``. Default False.
        unit: further arguments of :class:`SpikeConv`.

    Raises:
        ValueError: ``inner_shortcut=True`` with ``ratio`` other than 1.
    """

    def __init__(
        self,
        channels: int,
        ratio: float = 4,
        kernel_size: int = 1,
        bias: bool = True,
        inner_shortcut: bool = False,
        **unit,
    ):
        hidden = int(channels * ratio)
        if inner_shortcut and hidden != channels:
            raise ValueError(f'SpikeMLP: inner_shortcut=True needs ratio=1, got {ratio}')
        super().__init__(
            SpikeConv(channels, hidden, kernel_size, bias=bias, **unit),
            SpikeConv(hidden, channels, kernel_size, bias=bias, **unit),
        )
        self.inner_shortcut = inner_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W)."""
        first, second = self
        out = first(x)
        return add(out, second(add(x, out))) if self.inner_shortcut else second(out)
