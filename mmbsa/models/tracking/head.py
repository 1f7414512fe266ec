"""The centre head: it predicts the centre and the size of the target."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv, merge_time, read_time, split_time
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS


class CentreMaps(NamedTuple):
    """Predictions of a centre head for every cell of the search crop.

    Attributes:
        score: score of the centre (B, 1, h, w), in [1e-4, 1 - 1e-4].
        size: width and height of the target (B, 2, h, w), as fractions of the crop's side, in
            [1e-4, 1 - 1e-4].
        offset: x and y from the cell to the centre (B, 2, h, w), in cells.
    """

    score: Tensor
    size: Tensor
    offset: Tensor


def decode_boxes(maps: CentreMaps, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the box at the peak of the score of every sample.

    Args:
        maps: predictions for B samples.
        window: factor (h, w) on the score for the search of the peak, for example the outer product
            of :func:`mmbsa.structures.hann_window` with itself; None (default) means no factor.

    Returns:
        Boxes (B, 4) cx, cy, w, h as fractions of the crop's side, and scores (B,) at their cells.
        The first of equal peaks is used.
    """
    score = maps.score if window is None else maps.score * window
    height, width = score.shape[-2:]
    flat = score.flatten(1)
    cells = torch.arange(flat.shape[1], device=flat.device)
    cell = torch.where(flat == flat.amax(1, keepdim=True), cells, flat.shape[1]).amin(1)
    cell = cell.clamp(max=flat.shape[1] - 1)  # NaN equals no score
    at = cell[:, None, None]
    size, offset = (
        m.flatten(2).gather(2, at.expand(-1, 2, 1))[..., 0] for m in (maps.size, maps.offset)
    )
    centre = torch.stack(
        [
            (cell % width + offset[:, 0]) / width,
            (cell.div(width, rounding_mode='floor') + offset[:, 1]) / height,
        ],
        1,
    )
    return torch.cat([centre, size], 1), maps.score.flatten(1).gather(1, cell[:, None])[:, 0]


class CentreBranch(nn.Module):
    """Branch of the centre head: four units neuron -> 3x3 conv -> norm, then a 1x1 conv of membrane
    potentials.

    Args:
        in_channels: C, channels of the input.
        channels: output channels of the first unit; the others have a half, a quarter and an eighth
            of them.
        out_channels: channels of the output.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int, unit: dict):
        super().__init__()
        widths = [in_channels, *(channels >> shift for shift in range(4))]
        self.units = nn.Sequential(
            *(SpikeConv(a, b, 3, bias=True, **unit) for a, b in zip(widths, widths[1:]))
        )
        self.conv = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, h, w), the mean over T, for an input (T, B, C, h, w).

        Under autocast the last convolution uses float32, because 16 bits are too coarse for boxes.
        """
        x = self.units(x)
        device = x.device.type
        exact = (
            torch.autocast(device, enabled=False)
            if torch.amp.is_autocast_available(device)  # not on the meta device
            else nullcontext()
        )
        with exact:
            maps = self.conv(merge_time(x).to(self.conv.weight.dtype))
        return read_time([split_time(maps, len(x))], 'mean')[0]


@MODELS.register_module()
class CentreHead(BaseModule):
    """Centre head of SDTrack: three branches that predict score, size and offset from the features
    of the search crop.

    Data flow::

        (T,B,C,h,w) -> branch 'score'  -> mean over T -> sigmoid, clamped -> (B,1,h,w)
                    -> branch 'size'   -> mean over T -> sigmoid, clamped -> (B,2,h,w)
                    -> branch 'offset' -> mean over T                     -> (B,2,h,w)

    Args:
        in_channels: C, channels of the features.
        channels: output channels of the first unit of a branch, a multiple of 8; default 256, as in
            SDTrack tiny (512 in SDTrack base).
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        num_steps: T, for neurons whose parameters depend on it; default 1.
        init_cfg: initialisation config of OpenMMLab; None (default) initialises all matrices by
            Xavier's uniform rule.

    Raises:
        ValueError: ``channels`` is not a multiple of 8.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        num_steps: int = 1,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if channels < 8 or channels % 8:
            raise ValueError(
                f'CentreHead: channels={channels} must be a multiple of 8, because three units '
                'halve them'
            )
        neuron = bind_steps(neuron or dict(type='mmbsa.IntegerNode', levels=4), num_steps)
        unit = dict(neuron=neuron, norm_cfg=norm_cfg or dict(type='BN'))
        self.in_channels = in_channels
        self.branches = nn.ModuleDict(
            {
                name: CentreBranch(in_channels, channels, outs, unit)
                for name, outs in (('score', 1), ('size', 2), ('offset', 2))
            }
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> CentreMaps:
        """Return the predictions (B, ., h, w) for features (T, B, C, h, w) of the search crop."""
        score, size, offset = (self.branches[name](x) for name in ('score', 'size', 'offset'))
        return CentreMaps(*(m.sigmoid().clamp(1e-4, 1 - 1e-4) for m in (score, size)), offset)
