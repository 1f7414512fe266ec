"""SDTrack (arXiv 2503.08703): single-object tracking with a spiking transformer on pairs of
crops."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.models.tracking.canvas import check_pair_backbone, pair_features
from mmbsa.models.tracking.head import CentreMaps, decode_boxes
from mmbsa.models.tracking.losses import tracking_losses
from mmbsa.models.tracking.state import CropRules, TrackState, advance, search_crop, start_track
from mmbsa.registry import MODELS, build_checked
from mmbsa.structures import TrackDataSample, hann_window, usable_boxes


@MODELS.register_module()
class SDTrack(BaseModel):
    """Single-object tracker: one network gets a template and a search crop and predicts the box of
    the target.

    Data flow::

        template (T,B,3,z,z), search (T,B,3,s,s) -> pair_features -> tokens (T,B,C,N)
        -> the search crop's (T,B,C,s/16,s/16) -> head -> score, size, offset -> box at the peak

    Args:
        backbone: config of a backbone whose transformer blocks have no convolutions over
            neighbouring tokens: ``mmbsa.ESpikeFormer`` with ``arch.with_conv=False``. Its key
            ``attention`` selects the attention kind, for example BSA; ``neuron`` and ``num_steps``
            set D and T.
        head: config of :class:`CentreHead`; ``in_channels``, and the defaults of ``num_steps`` and
            ``neuron``, are those of the backbone.
        crops: fields of :class:`CropRules` for testing; None (default) means its defaults. The
            pipeline of the dataset cuts the training crops.
        appendix: side of the square of zero tokens; default 2.
        window: whether to multiply the score by a Hann window before the search of the peak;
            default False, as in the official results.
        loss_weights: weights of ``loss_focal``, ``loss_l1`` and ``loss_giou``; None (default) means
            1, 5 and 2.
        data_preprocessor: config of the data preprocessor; default None.
        init_cfg: initialisation config of OpenMMLab; default None.

    Raises:
        ValueError: the backbone does not support pairs of crops, or a crop size is not a multiple
            of its stride.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        crops: dict | None = None,
        appendix: int = 2,
        window: bool = False,
        loss_weights: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor or dict(type='mmbsa.TrackDataPreprocessor'), init_cfg)
        self.backbone = build_checked(backbone, BaseSpikingBackbone, 'model.backbone', MODELS)
        self.stride = check_pair_backbone(self.backbone)
        self.crops = CropRules(**(crops or {}))
        for name in ('template_size', 'search_size'):
            if getattr(self.crops, name) % self.stride:
                raise ValueError(
                    f'SDTrack: crops.{name}={getattr(self.crops, name)} must be a multiple of the '
                    f'stride {self.stride}'
                )
        self.head = MODELS.build(
            {
                'neuron': self.backbone.neuron_cfg,
                'num_steps': self.backbone.num_steps,
                **head,
                'in_channels': self.backbone.feature_info[-1]['num_chs'],
            }
        )
        self.appendix, self.loss_weights = appendix, loss_weights
        hann = hann_window(self.crops.search_size // self.stride)
        self.register_buffer('window', hann[:, None] * hann if window else None, persistent=False)

    @property
    def num_steps(self) -> int:
        """T, the number of time steps of the backbone."""
        return self.backbone.num_steps

    def features(self, template: Tensor, search: Tensor) -> Tensor:
        """Return tokens (T, B, C, N), those of the template first, for crops (T, B, 3, z, z) and
        (T, B, 3, s, s)."""
        return pair_features(self.backbone, template, search, self.appendix)

    def maps(self, tokens: Tensor, side: int) -> CentreMaps:
        """Return the predictions for the search crop, whose features are ``side`` x ``side`` cells,
        from tokens (T, B, C, N)."""
        return self.head(tokens[..., -side * side :].unflatten(-1, (side, side)))

    def forward(
        self,
        inputs: dict,
        data_samples: Sequence[TrackDataSample] | None = None,
        mode: str = 'tensor',
    ):
        """Run the tracker in one of OpenMMLab's three modes.

        * ``'loss'``: a batch of pairs -> dict of losses.
        * ``'predict'``: a batch of sequences -> their samples with ``pred_boxes``.
        * ``'tensor'``: a batch of pairs -> dict of predictions with the official names:
          ``pred_boxes`` (B, 1, 4) cx, cy, w, h as fractions of the search crop's side,
          ``score_map`` (B, 1, h, w), ``size_map`` and ``offset_map`` (B, 2, h, w), and
          ``backbone_feat`` (T, B, C, N).

        A pair is ``dict(template, search)`` of normalised crops (T, B, 3, z, z) and (T, B, 3, s,
        s); crops without a time axis count as one time step.
        """
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        template, search = (
            crop if crop.dim() == 5 else crop.unsqueeze(0)
            for crop in (inputs['template'], inputs['search'])
        )
        tokens = self.features(template, search)
        maps = self.maps(tokens, search.shape[-1] // self.stride)
        boxes, _ = decode_boxes(maps)
        if mode == 'tensor':
            return dict(
                pred_boxes=boxes.unsqueeze(1),
                score_map=maps.score,
                size_map=maps.size,
                offset_map=maps.offset,
                backbone_feat=tokens,
            )
        if mode != 'loss':
            raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")
        gt = torch.stack([sample.gt_box for sample in data_samples]).to(boxes.device)
        return tracking_losses(maps.score, boxes, gt, self.loss_weights)

    def init_state(self, frame: np.ndarray, box: Sequence[float]) -> TrackState:
        """Start a track, and return its state.

        Args:
            frame: first frame (T, H, W, 3), uint8.
            box: box (4,) x, y, w, h of the target in the frame, in pixels.

        Raises:
            ValueError: the number of sub-frames is not T, or the box has no area, is outside of
                the frame, or has a side more than twice as long as that side of the frame.
        """
        self._check_steps(frame)
        height, width = frame.shape[1:3]
        if box[2] > 2 * width or box[3] > 2 * height:
            raise ValueError(
                f'the first box {[float(value) for value in box]} (x, y, w, h) is too large; '
                f'expected at most twice the frame, which has {width} x {height} pixels'
            )
        return start_track(frame, box, self.crops)

    def _check_steps(self, frame: np.ndarray) -> None:
        if len(frame) != self.num_steps:
            raise ValueError(
                f'SDTrack: a frame must have T={self.num_steps} sub-frames, got {len(frame)}'
            )

    @torch.no_grad()
    def track(
        self, frames: Sequence[np.ndarray], states: Sequence[TrackState]
    ) -> tuple[list[TrackState], np.ndarray]:
        """Compute one step of several tracks in one batch.

        Args:
            frames: the next frame (T, H, W, 3), uint8, of each track.
            states: the state of each track after the previous step.

        Returns:
            The new states, and the score of each peak, (B,) float32.

        Raises:
            ValueError: the number of sub-frames of a frame is not T, or a predicted box is not
                finite.
        """
        for frame in frames:
            self._check_steps(frame)
        crops, factors = zip(
            *(search_crop(frame, state, self.crops) for frame, state in zip(frames, states))
        )
        template, search = (
            self.data_preprocessor.normalize(torch.stack(list(parts), 1))
            for parts in ([state.template for state in states], crops)
        )
        maps = self.maps(self.features(template, search), self.crops.search_size // self.stride)
        boxes, scores = decode_boxes(maps, self.window)
        boxes = boxes.float().cpu()
        if not boxes.isfinite().all():
            raise ValueError(
                f'SDTrack: the network predicts {boxes[~boxes.isfinite().all(1)][0].tolist()} as '
                'centre and size of a box; the weights are not trained or not finite'
            )
        moved = [
            advance(state, box, factor, frame.shape[1:3], self.crops)
            for state, box, factor, frame in zip(states, boxes, factors, frames)
        ]
        return moved, scores.float().cpu().numpy()

    def predict(
        self, inputs: dict, data_samples: Sequence[TrackDataSample]
    ) -> list[TrackDataSample]:
        """Track the target in whole sequences, starting from the first annotated box.

        All sequences of the batch are tracked at the same time. A track starts at the first row
        whose box can be used (:func:`mmbsa.structures.usable_boxes`); rows before it get its box.

        Args:
            inputs: dict with ``frames``, a list with the frames of every sequence.
            data_samples: one sample per sequence, with ``gt_boxes`` (N, 4) in pixels.

        Returns:
            The samples, with ``pred_boxes`` (N, 4) in pixels, ``scores`` (N,), and ``seconds``
            (N,). The latter is the time of a step in seconds, without the reading of the frame,
            divided by the number of sequences in the batch.
        """
        sequences = inputs['frames']
        tracks = [self._start(frames, sample) for frames, sample in zip(sequences, data_samples)]
        for row in range(1, max(map(len, sequences))):
            active = [
                index
                for index, frames in enumerate(sequences)
                if tracks[index].start < row < len(frames)
            ]
            if not active:
                continue
            frames = [sequences[index][row] for index in active]
            start = time.perf_counter()
            states, scores = self.track(frames, [tracks[index].state for index in active])
            seconds = (time.perf_counter() - start) / len(active)
            for index, state, score in zip(active, states, scores):
                tracks[index].note(row, state, score, seconds)
        for track, sample in zip(tracks, data_samples):
            sample.pred_boxes = torch.from_numpy(track.boxes)
            sample.scores, sample.seconds = (
                torch.from_numpy(track.scores),
                torch.from_numpy(track.seconds),
            )
        return list(data_samples)

    def _start(self, frames: Sequence[np.ndarray], sample: TrackDataSample) -> '_Track':
        boxes = np.asarray(sample.gt_boxes, np.float64)
        usable = usable_boxes(boxes, frames[0].shape[1:3])
        row = int(usable.argmax())  # 0 without any; init_state says why
        return _Track(self.init_state(frames[row], boxes[row]), len(frames), row)


class _Track:
    """The boxes of a sequence during tracking, which starts at row ``start``."""

    def __init__(self, state: TrackState, length: int, start: int):
        self.state, self.start, self.boxes = state, start, np.zeros((length, 4))
        self.scores, self.seconds = np.ones(length, np.float32), np.zeros(length)
        self.boxes[: start + 1] = state.box

    def note(self, row: int, state: TrackState, score: float, seconds: float) -> None:
        self.state, self.boxes[row] = state, state.box
        self.scores[row], self.seconds[row] = score, seconds
