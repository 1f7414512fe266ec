"""Matching of queries to the classes of an image, and the losses of matched masks (MaskFormer,
NeurIPS 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

#: queries and masks that belong together: indices of both, of equal length.
Match = tuple[Tensor, Tensor]


@dataclass
class Target:
    """Classes of an image, labels (n,), and where they are, masks (n, H, W) of booleans."""

    labels: Tensor
    masks: Tensor


class MaskCriterion:
    r"""Losses of a set of masks with classes against a semantic map.

    Every class of the map is one target. Void pixels are negatives of every mask. Queries and
    targets are matched one to one at the least cost, on targets reduced to the size of the
    prediction by nearest:

    .. math:: -c_{cls}\,p[\mathrm{class}] + c_{mask}\,\mathrm{focal} + c_{dice}\,\mathrm{dice}

    Losses: cross-entropy of all queries with the weight ``no_object_weight`` on those without a
    target, divided by the sum of weights; focal loss and dice loss of matched masks at the size of
    the target (predictions are enlarged bilinearly), divided by the number of masks, which counts
    at least one per image and is averaged over devices.

    Args:
        num_classes: K; index K means no object.
        loss_cls, loss_mask, loss_dice: weights of the losses.
        cost_cls, cost_mask, cost_dice: weights of the costs.
        no_object_weight: weight of queries without a target.
        alpha, gamma: of the focal loss and cost.
        eps: added to both sides of the dice ratio, in loss and cost.
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
        """Semantic maps (B, H, W) -> one target per image; an image without labels has none in it.

        Raises:
            ValueError: a label that is neither a class nor ``ignore_index``.
        """
        found = []
        for image in labels:
            classes = image.unique()
            classes = classes[classes != ignore_index].long()
            strangers = classes[(classes < 0) | (classes >= self.num_classes)]
            if len(strangers):
                raise ValueError(
                    f'the semantic map holds label {int(strangers[0])}, expected 0 .. '
                    f'{self.num_classes - 1} (decode_head.num_classes={self.num_classes}) or '
                    f'decode_head.ignore_index={ignore_index}; does the data set need '
                    'reduce_zero_label?'
                )
            found.append(Target(classes, image == classes[:, None, None]))
        return found

    def count(self, targets: Sequence[Target], num_queries: int) -> float:
        """Number of masks that loss_mask and loss_dice are divided by."""
        total = sum(max(min(len(target.labels), num_queries), 1) for target in targets)
        total = torch.tensor(float(total), device=targets[0].labels.device)
        all_reduce(total, op='mean')
        return max(float(total), 1.0)

    @torch.no_grad()
    def match(
        self, scores: Tensor, masks: Tensor, targets: Sequence[Target], name: str = 'the head'
    ) -> list[Match]:
        """Class logits (B, Q, K + 1) and mask logits (B, Q, h, w) -> indices of matched queries and
        targets per image.

        With more targets than queries, the best queries' worth of targets is matched.

        Raises:
            FloatingPointError: logits that are not finite.
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
        """(Q, K + 1), (Q, h, w) -> costs (Q, n)."""
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
        """Class of every query (B, Q), K where it has no target."""
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
        """Class logits (B, Q, K + 1) and mask logits (B, Q, h, w) -> ``loss_cls``, ``loss_mask``
        and ``loss_dice``."""
        labels = self.query_labels(targets, matches, scores.size(1))
        weight = scores.new_ones(self.num_classes + 1, dtype=torch.float32)
        weight[-1] = self.no_object_weight
        loss_cls = F.cross_entropy(scores.float().flatten(0, 1), labels.flatten(), weight)
        # a zero that every parameter has a part in
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
