"""Detectors as functions of tensors with a fixed number of boxes, which exporters can trace."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

#: score of a candidate that is no detection.
NOTHING = -1.0


class BoxPredictor(nn.Module):
    """What an anchor-based detector of mmdet predicts for one image: RetinaNet, Faster, Mask and
    Cascade R-CNN, with spiking or stock parts.

    mmdet's post-processing depends on values: it removes boxes by masks. Here the candidates of
    every step have a fixed number; removed ones get the score -1, which every later step ignores.
    The result is mmdet's before ``rescale``, padded.

    Data flow::

        (1,C,H,W) -> maps -> scores and deltas of every anchor -> candidates -> NMS -> boxes
        two stages: boxes -> RoIAlign on every level -> box head (stages) -> candidates -> NMS ->
            boxes -> RoIAlign -> mask head

    Args:
        model: the detector, with its test settings.
        size: (H, W) of the images in pixels; a file has a fixed size, because the anchors are
            constants.
        candidates: largest number of (box, class) pairs that reach the last NMS of a two-stage
            detector; default 1000. mmdet has no limit, so the result is the same if at most that
            many pairs are above ``score_thr``.
        channels: C, channels of the images; default 3.

    Raises:
        ValueError: the detector's head has no anchors, or uses another NMS or RoI layer.
    """

    def __init__(
        self, model: nn.Module, size: Sequence[int], candidates: int = 1000, channels: int = 3
    ):
        super().__init__()
        self.model, self.size, self.candidates = model.eval(), tuple(size), candidates
        self.two_stage = hasattr(model, 'roi_head')
        self.dense = model.rpn_head if self.two_stage else model.bbox_head
        for part in (self.dense, model.roi_head) if self.two_stage else (self.dense,):
            cfg = part.test_cfg.nms
            if cfg.get('type', 'nms') != 'nms' or cfg.get('class_agnostic'):
                raise ValueError(
                    f'{type(part).__name__} cannot be exported: expected '
                    f"nms=dict(type='nms', iou_threshold=..), got {cfg}"
                )
        # a prediction of mmdet measures the strides of spiking heads and RoI extractors
        outs = self._measure(next(model.parameters()).new_zeros(1, channels, *self.size))
        if len(outs) != 2 or not hasattr(self.dense.prior_generator, 'base_anchors'):
            raise ValueError(
                f'{type(self.dense).__name__} cannot be exported: expected an anchor head with '
                'scores and deltas'
            )
        maps = outs[0]
        sizes = [x.shape[-2:] for x in maps]
        anchors = self.dense.prior_generator.grid_priors(
            sizes, dtype=maps[0].dtype, device=maps[0].device
        )
        for level, boxes in enumerate(anchors):
            self.register_buffer(f'anchors{level}', boxes, persistent=False)
        self.levels = len(anchors)

    @torch.no_grad()
    def _measure(self, image: Tensor) -> tuple:
        """Return the outputs of the dense head for an image, after one prediction of mmdet."""
        meta = dict(
            img_shape=self.size,
            ori_shape=self.size,
            pad_shape=self.size,
            batch_input_shape=self.size,
            scale_factor=(1.0, 1.0),
        )
        self.model.predict(image, [BaseDataElement(metainfo=meta)], rescale=False)
        return self.dense(self.model.extract_feat(image))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (N, 4) x1, y1, x2, y2 in pixels, scores (N,), classes (N,) int64 and, for a
        model with masks, mask probabilities (N, h, w) inside the boxes, for an image (1, C, H, W).

        N is ``max_per_img`` of the model's test settings. Detections are sorted by score; rows
        after the last one have the score -1, the class -1, and zeros.
        """
        if image.shape[0] != 1 or tuple(image.shape[-2:]) != self.size:
            raise ValueError(
                f'BoxPredictor takes one image of {self.size} pixels, got {tuple(image.shape)}'
            )
        maps = self.model.extract_feat(image)
        boxes, scores, labels = self._dense_boxes(*self.dense(maps))
        if not self.two_stage:
            return boxes, scores, labels
        head = self.model.roi_head
        boxes, scores, labels = self._region_boxes(maps, boxes, scores)
        if not head.with_mask:
            return boxes, scores, labels
        return boxes, scores, labels, self._masks(maps, boxes, labels)

    def _dense_boxes(
        self, scores: Sequence[Tensor], deltas: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and classes of a dense head, after its NMS."""
        head, cfg = self.dense, self.dense.test_cfg
        threshold = None if self.two_stage else cfg.get('score_thr', 0)
        found = []
        for level, (score, delta) in enumerate(zip(scores, deltas)):
            score, delta = (_one_image(x).permute(1, 2, 0) for x in (score, delta))
            score = score.reshape(-1, head.cls_out_channels)
            score = score.sigmoid() if head.use_sigmoid_cls else score.softmax(-1)[:, :-1]
            delta = delta.reshape(-1, head.bbox_coder.encode_size)
            classes = score.size(1)
            flat = score.flatten()
            if threshold is not None:
                flat = torch.where(flat > threshold, flat, NOTHING)
            number = cfg.get('nms_pre', -1)
            flat, index = _best(flat, number if number > 0 else len(flat))
            row = index // classes
            priors = getattr(self, f'anchors{level}')[row]
            group = torch.full_like(index, level) if self.two_stage else index % classes
            found.append((priors, delta[row], flat, group))
        priors, delta, score, group = (torch.cat(parts) for parts in zip(*found))
        boxes = head.bbox_coder.decode(priors, delta, max_shape=self.size)
        least = cfg.get('min_bbox_size', -1)
        if least >= 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) > least).all(1)
            score = torch.where(large, score, NOTHING)
        return _suppress(boxes, score, group, cfg.nms, cfg.max_per_img)

    def _region_boxes(
        self, maps: Sequence[Tensor], boxes: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and classes of the RoI head for proposals (K, 4) and scores (K,)."""
        head, cfg = self.model.roi_head, self.model.roi_head.test_cfg
        stages = list(_stages(head.bbox_roi_extractor, head.bbox_head))
        logits = []
        for number, (extractor, box_head) in enumerate(stages, 1):
            score, delta = box_head(_roi_features(extractor, maps, boxes))
            score, delta = (x.mean(0) if x.dim() == 3 else x for x in (score, delta))
            logits.append(score)
            if number < len(stages):
                boxes = box_head.regress_by_class(
                    boxes, score[:, :-1].argmax(1), delta, dict(img_shape=self.size)
                )
        score = (sum(logits) / len(logits)).softmax(-1)[:, :-1]
        classes = score.size(1)
        known = (score > cfg.score_thr) & (scores >= 0)[:, None]
        flat = torch.where(known, score, NOTHING).flatten()
        flat, index = _best(flat, self.candidates)
        row, label = index // classes, index % classes
        column = torch.zeros_like(label) if box_head.reg_class_agnostic else label
        size = box_head.bbox_coder.encode_size
        delta = delta.unflatten(1, (-1, size))[row, column]
        boxes = box_head.bbox_coder.decode(boxes[row], delta, max_shape=self.size)
        return _suppress(boxes, flat, label, cfg.nms, cfg.max_per_img)

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Return mask probabilities (N, h, w), the mean over the stages of a cascade."""
        head = self.model.roi_head
        extractor = head.bbox_roi_extractor if head.share_roi_extractor else head.mask_roi_extractor
        masks = []
        for one, mask_head in _stages(extractor, head.mask_head):
            logits = mask_head(_roi_features(one, maps, boxes))
            column = torch.zeros_like(labels) if mask_head.class_agnostic else labels.clamp(min=0)
            masks.append(logits[torch.arange(len(labels)), column].sigmoid())
        return torch.where((labels >= 0)[:, None, None], sum(masks) / len(masks), 0.0)


def _best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the largest scores and their indices, (number,); all of them, in their order, if there
    are no more."""
    if number >= len(scores):
        return scores, torch.arange(len(scores), device=scores.device)
    ranked, index = scores.sort(descending=True)
    return ranked[:number], index[:number]


def _one_image(x: Tensor) -> Tensor:
    """Return the output (C, h, w) of the only image: (1, C, h, w), or the mean of (T, 1, C, h,
    w)."""
    return (x.mean(0) if x.dim() == 5 else x)[0]


def _stages(extractors: nn.Module, heads: nn.Module):
    """Return pairs of RoI extractor and head, one for every stage."""
    lists = [list(m) if isinstance(m, nn.ModuleList) else [m] for m in (extractors, heads)]
    return zip(*lists)


def _roi_features(extractor: nn.Module, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Return features (K, C, h, w), or (T, K, C, h, w) of maps (T, 1, C, H_i, W_i), for boxes (K,
    4).

    Every box is read on every level, and its own level is kept: mmdet reads the boxes of a level
    only, whose number depends on their values.
    """
    maps = maps[: extractor.num_inputs]
    steps = len(maps[0]) if maps[0].dim() == 5 else None
    index = boxes.new_zeros(len(boxes), 1)
    own = extractor.map_roi_levels(torch.cat([index, boxes], 1), len(maps))
    rois = torch.cat([torch.cat([index + t, boxes], 1) for t in range(steps or 1)])
    own = own.repeat(steps or 1)[:, None, None, None]
    out = None
    for level, (layer, x) in enumerate(zip(extractor.roi_layers, maps)):
        if type(layer).__name__ != 'RoIAlign' or layer.pool_mode != 'avg':
            raise ValueError(f'only RoIAlign with pool_mode avg can be exported, got {layer}')
        x = x.flatten(0, 1) if steps else x
        part = roi_align(
            x, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
        )
        out = part if out is None else torch.where(own == level, part, out)
    return out.unflatten(0, (steps, -1)) if steps else out


def _suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, cfg: dict, number: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best boxes (number, 4), scores and groups (number,) after NMS within groups.

    The boxes of a group are moved away from the others, as in mmcv's ``batched_nms``.

    Args:
        boxes: candidates (n, 4).
        scores: scores (n,); negative ones are no detections.
        groups: classes or levels (n,) int64.
        cfg: settings of the NMS, ``type='nms'`` and ``iou_threshold``.
        number: number of rows of the result.
    """
    largest = torch.where((scores >= 0)[:, None], boxes, 0.0).max()
    moved = boxes + (groups.to(boxes) * (largest + 1))[:, None]
    keep = nms(moved, scores, cfg['iou_threshold'])
    # fewer rows than boxes that remain are filled with the first candidate, marked as nothing
    real = torch.cat([torch.ones_like(keep), keep.new_zeros(number)])[:number].bool()
    keep = torch.cat([keep, keep.new_zeros(number)])[:number]
    scores = torch.where(real, scores[keep], NOTHING)
    found = scores >= 0
    boxes = torch.where(found[:, None], boxes[keep], 0.0)
    return boxes, scores, torch.where(found, groups[keep], -1)
