"""Haar wavelets between ternary neurons: the token mixing of SWFormer (Fang et al., ECCV 2024)."""

import numpy as np
import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.models.layers.conv import Conv2d, conv2d
from mmbsa.models.layers.pool import MaxPool2d
from mmbsa.models.layers.time import map_steps, norm_of_copies
from mmbsa.models.neurons import build_neuron


def haar_matrix(size: int) -> np.ndarray:
    r"""Return the orthonormal Haar matrix (N, N) in float32.

    It is :math:`H_{2n} = [H_n \otimes (1, 1);\ I_n \otimes (1, -1)]`, every row divided by its
    norm.

    Args:
        size: N, a power of two.
    """
    rows = np.ones((1, 1), np.float32)
    while len(rows) < size:
        rows = np.concatenate(
            [
                np.kron(rows, np.ones((1, 2), np.float32)),
                np.kron(np.eye(len(rows), dtype=np.float32), np.array([[1.0, -1.0]], np.float32)),
            ]
        )
    return rows / np.sqrt((rows * rows).sum(1, keepdims=True))


def _along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Multiply the rows (axis 3) or columns (axis 4) of a channels-last x (T, B, C, N, N) by
    ``matrix``."""
    last = x.permute(0, 1, 3, 4, 2)  # (T, B, H, W, C)
    if axis == 4:
        out = matrix @ last
    else:
        out = (matrix @ last.flatten(3)).unflatten(3, last.shape[3:])
    return out.permute(0, 1, 4, 2, 3)


class HaarTransform(nn.Module):
    """A two-dimensional Haar transform with spikes as the input of both matrix products.

    Forward: H y, y = neuron(x H^T), where x are spikes. Inverse: H^T y, y = neuron(neuron(x) H).

    Args:
        neuron: config of the neurons.
        inverse: whether this is the inverse transform; default False.
    """

    def __init__(self, neuron: dict, inverse: bool = False):
        super().__init__()
        self.first = build_neuron(neuron if inverse else None)
        self.second = build_neuron(neuron)
        self.inverse = inverse

    def forward(self, x: Tensor) -> Tensor:
        """Return the transform (T, B, C, N, N) of x (T, B, C, N, N).

        Raises:
            ValueError: height and width differ or are not a power of two.
        """
        height, width = x.shape[3:]
        if height != width or height & (height - 1):
            raise ValueError(
                'the Haar transform needs square maps whose side is a power of two, got '
                f'{height} x {width}; '
                'with a stride of 16, use inputs of 256 x 256 or 512 x 512 pixels, not 224 x 224'
            )
        matrix = torch.as_tensor(haar_matrix(height)).to(x)
        if self.inverse:
            matrix = matrix.T
        y = self.second(_along(matrix, self.first(x), 4))
        return _along(matrix, y, 3)


class BlockWeights(nn.Module):
    """A linear layer between the channels of each group: out[g, k] = sum_d in[g, d] W[g, d, k].

    Args:
        channels: C, channels of input and output.
        groups: G, number of groups; must divide C.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.weight = nn.Parameter(
            0.02 * torch.randn(groups, channels // groups, channels // groups)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (N, C, H, W) for an input (N, C, H, W)."""
        kernel = self.weight.transpose(1, 2).flatten(0, 1)[..., None, None]
        return conv2d(x, kernel, None, groups=len(self.weight))


class SharedConv2d(Conv2d):
    """A convolution with C / G channels that is applied to each of G groups; ``channels`` is C /
    G."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (N, C, H, W) for an input (N, C, H, W)."""
        groups = x.shape[1] // self.in_channels
        return conv2d(
            x,
            self.weight.repeat(groups, 1, 1, 1),
            self.bias.repeat(groups),
            self.stride,
            self.padding,
            self.dilation,
            groups,
        )


class ChannelAffine(nn.Module):
    """x * scale + shift per channel: a batch norm in eval mode that cannot be folded into a
    convolution.

    Args:
        norm: the batch norm.
    """

    def __init__(self, norm: _BatchNorm):
        super().__init__()
        scale = torch.rsqrt(norm.running_var + norm.eps) * (
            1 if norm.weight is None else norm.weight
        )
        shift = (0 if norm.bias is None else norm.bias) - norm.running_mean * scale
        self.scale, self.shift = nn.Parameter(scale.detach()), nn.Parameter(shift.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (N, C, H, W) for an input (N, C, H, W)."""
        return x * self.scale.view(-1, 1, 1) + self.shift.view(-1, 1, 1)


class NormedMap(nn.Module):
    """Apply a module of (N, C, H, W) and a norm to time-major maps.

    Args:
        module: the module; an identity gives a norm alone.
        channels: C, channels of the module's output.
        norm_cfg: norm config.
    """

    def __init__(self, module: nn.Module, channels: int, norm_cfg: dict):
        super().__init__()
        self.module = module
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C', H, W)."""
        return map_steps(
            lambda maps, copies: norm_of_copies(self.norm, self.module(maps), copies), x
        )

    def fuse(self) -> None:
        """Replace a batch norm in eval mode by a factor and a summand, see
        :func:`mmbsa.models.layers.fuse`."""
        if isinstance(self.norm, _BatchNorm) and self.norm.track_running_stats:
            self.norm = ChannelAffine(self.norm)


class HaarMixer(nn.Module):
    """Frequency-aware token mixer (FATM): a linear layer of wavelet coefficients, and two
    convolutions in parallel.

    Data flow, ``s = neuron(x)``::

        A: s -> Haar -> norm -> neuron -> block weights -> norm -> inverse Haar -> norm
        B: s -> 1x1 conv -> norm, shared by the groups
        C: s -> 3x3 conv -> norm, shared by the groups
        out = A + B + C

    With ``in_series`` (events) 3x3 maxima are applied to s and A, the input of B and C is A, and
    out = B + C.

    Args:
        channels: C, channels of input and output.
        groups: G, number of channel groups; must divide C.
        haar_neuron: config of the ternary neurons of the transforms.
        in_series: whether B and C follow A instead of being parallel to it; default False.
        neuron: config of the other neurons.
        norm_cfg: config of all norms.

    Raises:
        ValueError: ``groups`` does not divide ``channels``.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        haar_neuron: dict,
        in_series: bool = False,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
    ):
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f'HaarMixer: groups={groups} does not divide channels={channels}')
        width = channels // groups
        self.neuron = build_neuron(neuron)
        self.transform = HaarTransform(haar_neuron)
        self.coefficients = NormedMap(nn.Identity(), channels, norm_cfg)
        self.haar_neuron = build_neuron(neuron)
        self.weights = NormedMap(BlockWeights(channels, groups), channels, norm_cfg)
        self.inverse = HaarTransform(haar_neuron, inverse=True)
        self.restored = NormedMap(nn.Identity(), channels, norm_cfg)
        self.pointwise = NormedMap(SharedConv2d(width, width, 1), channels, norm_cfg)
        self.local = NormedMap(SharedConv2d(width, width, 3, padding=1), channels, norm_cfg)
        self.widen = MaxPool2d(3, stride=1, padding=1) if in_series else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, N, N) for an input (T, B, C, N, N)."""
        spikes = self._widened(self.neuron(x))
        out = self.weights(self.haar_neuron(self.coefficients(self.transform(spikes))))
        out = self._widened(self.restored(self.inverse(out)))
        if self.widen is None:
            return out + self.pointwise(spikes) + self.local(spikes)
        return self.pointwise(out) + self.local(out)

    def _widened(self, x: Tensor) -> Tensor:
        return x if self.widen is None else map_steps(lambda maps, _: self.widen(maps), x)
