"""The centre head: where the target's centre is, and how large the target."""

from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv, merge_time, read_time, split_time
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS


class CentreMaps(NamedTuple):
    """What a centre head says about every cell of the search crop.

    Attributes:
        score: (B, 1, h, w) in [1e-4, 1 - 1e-4], height of the centre's peak.
        size: (B, 2, h, w) in [1e-4, 1 - 1e-4], width and height as parts of the crop's side.
        offset: (B, 2, h, w), from the cell to the centre in cells, x and y.
    """

    score: Tensor
    size: Tensor
    offset: Tensor


def decode_boxes(maps: CentreMaps, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The box at the peak of every sample.

    Args:
        maps: of B samples.
        window: (h, w) factor on the score where the peak is looked for, for example the outer
            product of :func:`mmbsa.structures.hann_window` with itself.

    Returns:
        Boxes (B, 4) cx, cy, w, h as parts of the crop's sides, and scores (B,) at their cells. The
        first of equal peaks wins.
    """
    score = maps.score if window is None else maps.score * window
    height, width = score.shape[-2:]
    flat = score.flatten(1)
    cells = torch.arange(flat.shape[1], device=flat.device)
    cell = torch.where(flat == flat.amax(1, keepdim=True), cells, flat.shape[1]).amin(1)
    cell = cell.clamp(max=flat.shape[1] - 1)  # a score of NaN equals nothing
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
    """Four units neuron -> 3x3 conv -> norm that halve the channels, then a real-valued 1x1 conv.

    Args:
        in_channels: C.
        channels: of the first unit; the others have a half, a quarter, an eighth.
        out_channels: of the map.
        unit: ``neuron`` and ``norm_cfg``.
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int, unit: dict):
        super().__init__()
        widths = [in_channels, *(channels >> shift for shift in range(4))]
        self.units = nn.Sequential(
            *(SpikeConv(a, b, 3, bias=True, **unit) for a, b in zip(widths, widths[1:]))
        )
        self.conv = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, h, w) -> (B, out_channels, h, w), the mean over time."""
        x = self.units(x)
        return read_time([split_time(self.conv(merge_time(x)), len(x))], 'mean')[0]


@MODELS.register_module()
class CentreHead(BaseModule):
    """Centre head of SDTrack: three branches over the features of the search crop.

    Data flow::

        (T,B,C,h,w) -> branch 'score'  -> mean over T -> sigmoid, clamped -> (B,1,h,w)
                    -> branch 'size'   -> mean over T -> sigmoid, clamped -> (B,2,h,w)
                    -> branch 'offset' -> mean over T                     -> (B,2,h,w)

    Args:
        in_channels: C.
        channels: of the first unit of a branch, at least 8 and a multiple of 8 (256 tiny, 512
            base).
        neuron: config of the neurons.
        norm_cfg: norm of the units.
        num_steps: T, for neurons whose parameters depend on it.
        init_cfg: OpenMMLab's; None initialises all matrices by Xavier, uniformly.

    Raises:
        ValueError: channels that cannot be halved three times.
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
                f'CentreHead: channels={channels} must be a multiple of 8: every unit halves them'
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
        """(T, B, C, h, w) -> maps (B, ., h, w)."""
        score, size, offset = (self.branches[name](x) for name in ('score', 'size', 'offset'))
        return CentreMaps(*(m.sigmoid().clamp(1e-4, 1 - 1e-4) for m in (score, size)), offset)
