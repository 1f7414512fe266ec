"""SDTrack (arXiv 2503.08703): single-object tracking by a spiking transformer over pairs."""

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
from mmbsa.structures import TrackDataSample, hann_window


@MODELS.register_module()
class SDTrack(BaseModel):
    """A tracker that compares a template with a search crop in one network.

    Data flow::

        template (T,B,3,z,z), search (T,B,3,s,s) -> pair_features -> tokens (T,B,C,N)
        -> the search crop's (T,B,C,s/16,s/16) -> head -> score, size, offset -> box at the peak

    Args:
        backbone: config of a backbone whose transformer blocks work on tokens alone:
            ``mmbsa.ESpikeFormer`` with ``arch.with_conv=False``; its ``attention`` key chooses
            native attention or BSA, its ``neuron`` and ``num_steps`` the setting T x D.
        head: config of :class:`CentreHead`; ``in_channels``, and ``num_steps`` and ``neuron``
            unless given, are those of the backbone.
        crops: fields of :class:`CropRules`; training crops are the dataset's pipeline's.
        appendix: side of the square of zero tokens.
        window: multiply the score by a Hann window before the peak is looked for; official results
            do not.
        loss_weights: of ``loss_focal``, ``loss_l1`` and ``loss_giou``, by default 1, 5 and 2.
        data_preprocessor, init_cfg: OpenMMLab's.

    Raises:
        ValueError: a backbone that cannot work on pairs, or crop sizes that do not fit it.
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
        """T."""
        return self.backbone.num_steps

    def features(self, template: Tensor, search: Tensor) -> Tensor:
        """Crops (T, B, 3, z, z) and (T, B, 3, s, s) -> tokens (T, B, C, N), template first."""
        return pair_features(self.backbone, template, search, self.appendix)

    def maps(self, tokens: Tensor, side: int) -> CentreMaps:
        """Tokens (T, B, C, N) -> maps of the search crop, whose features are side x side."""
        return self.head(tokens[..., -side * side :].unflatten(-1, (side, side)))

    def forward(
        self,
        inputs: dict,
        data_samples: Sequence[TrackDataSample] | None = None,
        mode: str = 'tensor',
    ):
        """OpenMMLab's three modes.

        * ``'loss'``: a batch of pairs -> dict of losses.
        * ``'predict'``: a batch of sequences -> their samples with ``pred_boxes``.
        * ``'tensor'``: a batch of pairs -> dict of what the network says about it, under the
          official names: ``pred_boxes`` (B, 1, 4) cx, cy, w, h as parts of the search crop's side,
          ``score_map`` (B, 1, h, w), ``size_map`` and ``offset_map`` (B, 2, h, w), and
          ``backbone_feat`` (T, B, C, N).

        A pair is ``dict(template, search)`` of normalised crops (T, B, 3, z, z) and (T, B, 3, s,
        s); crops without a time axis are one step.
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
        """Begin a track.

        Args:
            frame: (T, H, W, 3) uint8.
            box: (4,) x, y, w, h in pixels.

        Raises:
            ValueError: another number of sub-frames, or a box without area or outside of the frame.
        """
        if len(frame) != self.num_steps:
            raise ValueError(
                f'SDTrack: a frame has {len(frame)} sub-frames, the model T={self.num_steps}'
            )
        return start_track(frame, box, self.crops)

    @torch.no_grad()
    def track(
        self, frames: Sequence[np.ndarray], states: Sequence[TrackState]
    ) -> tuple[list[TrackState], np.ndarray]:
        """One step of any number of tracks, in one batch.

        Args:
            frames: per track the next frame (T, H, W, 3) uint8.
            states: per track what the step before returned.

        Returns:
            New states, and the score of each peak, (B,) float32.
        """
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
        moved = [
            advance(state, box, factor, frame.shape[1:3], self.crops)
            for state, box, factor, frame in zip(states, boxes, factors, frames)
        ]
        return moved, scores.float().cpu().numpy()

    def predict(
        self, inputs: dict, data_samples: Sequence[TrackDataSample]
    ) -> list[TrackDataSample]:
        """Track the target in whole sequences, starting from the first annotated box.

        All sequences of the batch are tracked at the same time.

        Args:
            inputs: dict with ``frames``, a list with the frames of every sequence.
            data_samples: one sample per sequence, with ``gt_boxes`` (N, 4) in pixels.

        Returns:
            The samples, with ``pred_boxes`` (N, 4) in pixels, ``scores`` (N,), and ``seconds``
            (N,). The latter is the time of a step in seconds, without the reading of the frame,
            divided by the number of sequences in the batch.
        """
        sequences = inputs['frames']
        tracks = [
            _Track(self.init_state(frames[0], _first_box(sample)), len(frames))
            for frames, sample in zip(sequences, data_samples)
        ]
        for row in range(1, max(map(len, sequences))):
            active = [index for index, frames in enumerate(sequences) if row < len(frames)]
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


class _Track:
    """The boxes of a sequence while it is tracked."""

    def __init__(self, state: TrackState, length: int):
        self.state, self.boxes = state, np.zeros((length, 4))
        self.scores, self.seconds = np.ones(length, np.float32), np.zeros(length)
        self.boxes[0] = state.box

    def note(self, row: int, state: TrackState, score: float, seconds: float) -> None:
        self.state, self.boxes[row] = state, state.box
        self.scores[row], self.seconds[row] = score, seconds


def _first_box(sample: TrackDataSample) -> np.ndarray:
    return np.asarray(sample.gt_boxes[0], np.float64)
