"""Losses of a centre head: focal loss on the heat map, L1 and generalised IoU on the box."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbsa.structures import corners, corners_from_centre


def gaussian_radius(size: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Return the radius of the peak of an object in cells, the smallest of CornerNet's three roots.

    The roots omit the division by the leading coefficient, a mistake of the first CornerNet code
    that CenterNet and later trackers also have.

    Args:
        size: width and height (..., 2) in cells.
        min_overlap: smallest IoU of a box whose corners are within the radius; default 0.7.

    Returns:
        The radius (...), float; it may be negative.
    """
    w, h = size.unbind(-1)
    area, side = w * h, w + h
    inside = (1.0, side, area * (1 - min_overlap) / (1 + min_overlap))
    larger = (4.0, 2 * side, (1 - min_overlap) * area)
    smaller = (4 * min_overlap, -2 * min_overlap * side, (min_overlap - 1) * area)
    roots = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in (inside, larger, smaller)]
    return torch.stack(roots).amin(0)


def centre_heatmap(boxes: Tensor, size: int | tuple[int, int], min_overlap: float = 0.7) -> Tensor:
    """Return a heat map with a Gaussian peak of height 1 in the cell nearest to the centre of each
    box.

    Args:
        boxes: boxes (B, 4) x, y, w, h as fractions of the crop's side. They are not clamped, so a
            centre outside of the crop gives no peak.
        size: number of cells per side, or (height, width) in cells.
        min_overlap: see :func:`gaussian_radius`; default 0.7.

    Returns:
        The heat map (B, height, width), in the dtype of the boxes, without gradient.
    """
    height, width = (size, size) if isinstance(size, int) else size
    boxes = boxes.detach() * boxes.new_tensor([width, height, width, height])
    centre = (boxes[:, :2] + boxes[:, 2:] / 2).round()  # half to even
    radius = gaussian_radius(boxes[:, 2:], min_overlap).clamp(min=0).trunc()
    x = torch.arange(width, device=boxes.device, dtype=boxes.dtype) - centre[:, :1]
    y = torch.arange(height, device=boxes.device, dtype=boxes.dtype) - centre[:, 1:]
    sigma = ((2 * radius + 1) / 6)[:, None]
    # a separable peak; cells farther than the radius along either axis are 0
    rows, columns = (
        torch.exp(-(d**2) / (2 * sigma**2)) * (d.abs() <= radius[:, None]) for d in (y, x)
    )
    return rows[:, :, None] * columns[:, None, :]


def centre_focal_loss(
    score: Tensor, heatmap: Tensor, alpha: float = 2.0, beta: float = 4.0
) -> Tensor:
    r"""Return the focal loss of CornerNet and CenterNet.

    .. math:: -\frac{1}{N} \sum_{cells}
        \begin{cases} (1-p)^\alpha \ln p & y = 1 \\ (1-y)^\beta p^\alpha \ln(1-p) & y < 1
        \end{cases}

    N is the number of cells with y = 1 in the whole batch, or 1 if there are none.

    Args:
        score: p, (B, *), in (0, 1).
        heatmap: y, with as many elements as ``score``, in [0, 1].
        alpha: exponent of p or 1 - p; default 2.
        beta: exponent of 1 - y; default 4.

    Returns:
        The loss, a scalar.
    """
    heatmap = heatmap.reshape(score.shape)
    score = score.clamp(min=1e-12)
    peak = heatmap.eq(1)
    hits = (score.log() * (1 - score) ** alpha)[peak].sum()
    others = (1 - score).log() * score**alpha * (1 - heatmap) ** beta
    rest = others[heatmap.lt(1)].sum()
    return -(hits + rest) / peak.sum().clamp(min=1)


def generalized_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the generalised IoU (Rezatofighi et al., CVPR 2019) and the IoU, (B,) each, of boxes
    ``a`` and ``b``, (B, 4) x1, y1, x2, y2."""
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(1) for box in (a, b))
    inter = (torch.min(a[:, 2:], b[:, 2:]) - torch.max(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = area_a + area_b - inter
    hull = (torch.max(a[:, 2:], b[:, 2:]) - torch.min(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    iou = inter / union
    return iou - (hull - union) / hull, iou


def tracking_losses(
    score: Tensor,
    boxes: Tensor,
    gt: Tensor,
    weights: dict[str, float] | None = None,
) -> dict[str, Tensor]:
    """Return the three weighted losses of SDTrack.

    Args:
        score: heat map (B, 1, h, w) in (0, 1).
        boxes: predicted boxes (B, 4) cx, cy, w, h as fractions of the search crop's side.
        gt: annotated boxes (B, 4) x, y, w, h in the same unit, not clamped. The losses of boxes
            clamp corners to 0..1; the heat map does not.
        weights: weights of ``loss_focal``, ``loss_l1`` and ``loss_giou``; None (default) means 1, 5
            and 2.

    Returns:
        A dict with ``loss_focal``, ``loss_l1``, ``loss_giou``, and ``iou``, the mean over the batch
        without gradient.
    """
    weights = {**dict(loss_focal=1.0, loss_l1=5.0, loss_giou=2.0), **(weights or {})}
    predicted, target = corners_from_centre(boxes), corners(gt).clamp(0, 1)
    giou, iou = generalized_iou(predicted, target)
    losses = dict(
        loss_focal=centre_focal_loss(score, centre_heatmap(gt, tuple(score.shape[-2:]))),
        loss_l1=F.l1_loss(predicted, target),
        loss_giou=(1 - giou).mean(),
    )
    return {
        **{name: weights[name] * value for name, value in losses.items()},
        'iou': iou.mean().detach(),
    }
