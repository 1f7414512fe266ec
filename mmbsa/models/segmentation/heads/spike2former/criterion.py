"""Matching of queries with the classes of an image, and the losses of matched masks (MaskFormer,
NeurIPS 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

#: indices of matched queries and masks, two tensors of equal length.
Match = tuple[Tensor, Tensor]


@dataclass
class Target:
    """The classes of an image: ``labels`` (n,), and ``masks`` (n, H, W) of booleans with their
    pixels."""

    labels: Tensor
    masks: Tensor


class MaskCriterion:
    r"""Losses of predicted masks and classes with respect to a semantic map.

    Every class of the map is one target. Void pixels are negative for every mask. Queries and
    targets are matched one to one with the least cost. For the cost, targets are resized to the
    size of the prediction by nearest-neighbour interpolation:

    .. math:: -c_{cls}\,p[\mathrm{class}] + c_{mask}\,\mathrm{focal} + c_{dice}\,\mathrm{dice}

    There are three losses. The cross-entropy of all queries has the weight ``no_object_weight`` for
    queries without a target, and is divided by the sum of weights. The focal loss and the dice loss
    of matched masks are computed at the size of the target (predictions are resized bilinearly),
    and are divided by the number of masks, which is at least one per image and is averaged over
    devices.

    Args:
        num_classes: K, number of classes; the index K means no object.
        loss_cls: weight of the cross-entropy; default 1.
        loss_mask: weight of the focal loss; default 20.
        loss_dice: weight of the dice loss; default 1.
        cost_cls: weight of the class probability in the cost; default 2.
        cost_mask: weight of the focal loss in the cost; default 20.
        cost_dice: weight of the dice loss in the cost; default 1.
        no_object_weight: weight of queries without a target in the cross-entropy; default 0.1.
        alpha: alpha of the focal loss and cost; default 0.25.
        gamma: gamma of the focal loss and cost; default 2.
        eps: added to numerator and denominator of the dice ratio, in loss and cost; default 1.
    """

    def __init__(
        self,
        num_classes: int,
        loss_cls: float = 1.0,
        loss_mask: float = 20.0,
        loss_dice: float = 1.0,
        cost_cls: float = 2.0,
        cost_mask: float = 20.0,
        cost_dice: float = 1.0,
        no_object_weight: float = 0.1,
        alpha: float = 0.25,
        gamma: float = 2.0,
        eps: float = 1.0,
    ):
        self.num_classes, self.no_object_weight = num_classes, no_object_weight
        self.loss_cls, self.loss_mask, self.loss_dice = loss_cls, loss_mask, loss_dice
        self.cost_cls, self.cost_mask, self.cost_dice = cost_cls, cost_mask, cost_dice
        self.alpha, self.gamma, self.eps = alpha, gamma, eps

    def targets(self, labels: Tensor, ignore_index: int = 255) -> list[Target]:
        """Return one target per image; the target of an image without labels is empty.

        Args:
            labels: semantic maps (B, H, W) of class indices.
            ignore_index: label of void pixels; default 255.

        Raises:
            ValueError: a label is neither a class nor ``ignore_index``.
        """
        found = []
        for image in labels:
            classes = image.unique()
            classes = classes[classes != ignore_index].long()
            strangers = classes[(classes < 0) | (classes >= self.num_classes)]
            if len(strangers):
                raise ValueError(
                    f'the semantic map has label {int(strangers[0])}, expected 0 .. '
                    f'{self.num_classes - 1} (decode_head.num_classes={self.num_classes}) or '
                    f'decode_head.ignore_index={ignore_index}; does the data set need '
                    'reduce_zero_label?'
                )
            found.append(Target(classes, image == classes[:, None, None]))
        return found

    def count(self, targets: Sequence[Target], num_queries: int) -> float:
        """Return the number of masks by which loss_mask and loss_dice are divided.

        Args:
            targets: one target per image.
            num_queries: Q; at most Q masks of an image count.
        """
        total = sum(max(min(len(target.labels), num_queries), 1) for target in targets)
        total = torch.tensor(float(total), device=targets[0].labels.device)
        all_reduce(total, op='mean')
        return max(float(total), 1.0)

    @torch.no_grad()
    def match(
        self, scores: Tensor, masks: Tensor, targets: Sequence[Target], name: str = 'the head'
    ) -> list[Match]:
        """Match queries with targets, and return the indices of both per image.

        With more targets than queries, every query is matched, with the least total cost.

        Args:
            scores: class logits (B, Q, K + 1).
            masks: mask logits (B, Q, h, w).
            targets: one target per image.
            name: what the logits are, for messages; default ``'the head'``.

        Raises:
            FloatingPointError: logits are not finite.
        """
        for kind, logits in (('class', scores), ('mask', masks)):
            if not logits.isfinite().all():
                raise FloatingPointError(
                    f'{kind} logits of {name} are not finite, so queries cannot be matched: the '
                    'training has diverged (lower optim_wrapper.optimizer.lr, clip gradients, or '
                    'train in float32)'
                )
        matches = []
        for score, mask, target in zip(scores.float(), masks.float(), targets):
            device = target.labels.device
            if not len(target.labels):
                matches.append((torch.empty(0, dtype=torch.long, device=device),) * 2)
                continue
            pairs = linear_sum_assignment(self._costs(score, mask, target).cpu().numpy())
            matches.append(tuple(torch.as_tensor(index, device=device) for index in pairs))
        return matches

    def _costs(self, score: Tensor, mask: Tensor, target: Target) -> Tensor:
        """Return costs (Q, n) for class scores (Q, K + 1), mask logits (Q, h, w) and a target of n
        masks."""
        truth = (
            F.interpolate(target.masks[:, None].float(), mask.shape[-2:], mode='nearest')
            .flatten(1)
            .T
        )  # (h w, n)
        p = mask.flatten(1).sigmoid()
        hit = -(p + 1e-12).log() * self.alpha * (1 - p) ** self.gamma
        miss = -(1 - p + 1e-12).log() * (1 - self.alpha) * p**self.gamma
        focal = (hit @ truth + miss @ (1 - truth)) / len(truth)
        dice = 1 - (2 * p @ truth + self.eps) / (p.sum(1, keepdim=True) + truth.sum(0) + self.eps)
        return (
            self.cost_mask * focal
            + self.cost_dice * dice
            - self.cost_cls * score.softmax(1)[:, target.labels]
        )

    def query_labels(
        self, targets: Sequence[Target], matches: Sequence[Match], num_queries: int
    ) -> Tensor:
        """Return the class of every query (B, Q), K for queries without a target.

        Args:
            targets: one target per image.
            matches: indices of matched queries and targets per image.
            num_queries: Q, number of queries.
        """
        labels = torch.full(
            (len(targets), num_queries), self.num_classes, device=targets[0].labels.device
        )
        for row, target, (queries, chosen) in zip(labels, targets, matches):
            row[queries] = target.labels[chosen]
        return labels

    def losses(
        self,
        scores: Tensor,
        masks: Tensor,
        targets: Sequence[Target],
        matches: Sequence[Match],
        count: float,
    ) -> dict[str, Tensor]:
        """Return a dict with ``loss_cls``, ``loss_mask`` and ``loss_dice``.

        Args:
            scores: class logits (B, Q, K + 1).
            masks: mask logits (B, Q, h, w).
            targets: one target per image.
            matches: indices of matched queries and targets per image.
            count: number of masks by which loss_mask and loss_dice are divided.
        """
        labels = self.query_labels(targets, matches, scores.size(1))
        weight = scores.new_ones(self.num_classes + 1, dtype=torch.float32)
        weight[-1] = self.no_object_weight
        loss_cls = F.cross_entropy(scores.float().flatten(0, 1), labels.flatten(), weight)
        # a zero that depends on every parameter
        loss_mask = loss_dice = masks.float()[:, :0].sum()
        for mask, target, (queries, chosen) in zip(masks, targets, matches):
            if not len(queries):
                continue
            truth = target.masks[chosen].float()
            mask = F.interpolate(
                mask[queries].float()[:, None],
                truth.shape[-2:],
                mode='bilinear',
                align_corners=False,
            )[:, 0]
            loss_mask = (
                loss_mask
                + sigmoid_focal_loss(mask, truth, self.alpha, self.gamma).mean((1, 2)).sum()
            )
            p, truth = mask.flatten(1).sigmoid(), truth.flatten(1)
            dice = (2 * (p * truth).sum(1) + self.eps) / (p.sum(1) + truth.sum(1) + self.eps)
            loss_dice = loss_dice + (1 - dice).sum()
        return dict(
            loss_cls=self.loss_cls * loss_cls,
            loss_mask=self.loss_mask * loss_mask / count,
            loss_dice=self.loss_dice * loss_dice / count,
        )
