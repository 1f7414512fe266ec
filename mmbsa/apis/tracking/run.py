"""Application of a trained tracker to a stream of frames."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmbsa.models.layers import fuse as fuse_norms
from mmbsa.models.tracking import SDTrack
from mmbsa.registry import MODELS
from mmbsa.utils.checkpoint import load_checkpoint_file


@dataclass(frozen=True)
class TrackedFrame:
    """Result of a tracker for one frame.

    Attributes:
        frame: (T, H, W, 3) uint8.
        box: (4,) x, y, w, h in pixels.
        score: value of the score map's peak; 1 in the first frame.
        seconds: time of the step without reading the frame; 0 in the first frame.
    """

    frame: np.ndarray
    box: np.ndarray
    score: float
    seconds: float


def load_tracker(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None,
    device: str = 'cpu',
    fuse: bool = False,
) -> SDTrack:
    """Load the model of a config with the weights of a checkpoint, in evaluation mode.

    Args:
        config: a config file, or a config.
        checkpoint: checkpoint of ``tools/train.py``, or one converted from the official format;
            None keeps random weights.
        device: device of the model, ``'cpu'`` by default.
        fuse: whether to fold norms into convolutions, which is faster but rounds differently; False
            by default.

    Raises:
        ValueError: the config's model is not a tracker, or the checkpoint does not fit it.
    """
    cfg = config if isinstance(config, Config) else Config.fromfile(config)
    init_default_scope(cfg.get('default_scope', 'mmbsa'))
    model = MODELS.build(cfg.model)
    if not isinstance(model, SDTrack):
        raise ValueError(f'model.type={cfg.model["type"]!r} is not a tracker such as mmbsa.SDTrack')
    if checkpoint is not None:
        state = load_checkpoint_file(checkpoint, map_location='cpu')
        state = state.get('state_dict', state)
        ours = model.state_dict()
        wrong = dict(
            missing=sorted(set(ours) - set(state)),
            unexpected=sorted(set(state) - set(ours)),
            sizes=[key for key in ours if key in state and ours[key].shape != state[key].shape],
        )
        if any(wrong.values()):
            found = ', '.join(f'{what} {keys[:3]}' for what, keys in wrong.items() if keys)
            raise ValueError(
                f'{checkpoint} does not fit the config: {found}. Convert official checkpoints with '
                'tools/model_converters/convert.py first'
            )
        model.load_state_dict(state)
    model = model.eval()
    return (fuse_norms(model) if fuse else model).to(device)


@torch.no_grad()
def track_frames(
    model: SDTrack, frames: Iterable[np.ndarray], box: Sequence[float], amp: bool = False
) -> Iterator[TrackedFrame]:
    """Track a target through a stream of frames, with one frame in memory at a time.

    Args:
        model: tracker from :func:`load_tracker`.
        frames: frames (T, H, W, 3) uint8.
        box: (4,) x, y, w, h of the target in the first frame, in pixels.
        amp: whether to compute in mixed precision: float16 on GPUs, bfloat16 on CPUs; False by
            default.

    Yields:
        The result of every frame, beginning with the first one.

    Raises:
        ValueError: the first box has no area or is outside of the frame, or a frame has another T.
    """
    state, device = None, next(model.parameters()).device.type
    for frame in frames:
        if state is None:
            state, score, seconds = model.init_state(frame, box), 1.0, 0.0
        else:
            start = time.perf_counter()
            with torch.autocast(device, enabled=amp):
                (state,), scores = model.track([frame], [state])
            score, seconds = float(scores[0]), time.perf_counter() - start
        yield TrackedFrame(frame, state.box, score, seconds)
