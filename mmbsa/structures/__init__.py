"""Data structures of tracking: boxes, crops, frames and samples."""

from mmbsa.structures.boxes import (
    clip_box,
    corners,
    corners_from_centre,
    image_to_crop,
    jitter_box,
    prediction_to_image,
    usable_boxes,
)
from mmbsa.structures.crops import Crop, crop_side, crop_target, hann_window, hidden_at_stride
from mmbsa.structures.frames import FrameSequence
from mmbsa.structures.track_data_sample import TrackDataSample

__all__ = [
    'Crop',
    'FrameSequence',
    'TrackDataSample',
    'clip_box',
    'corners',
    'corners_from_centre',
    'crop_side',
    'crop_target',
    'hann_window',
    'hidden_at_stride',
    'image_to_crop',
    'jitter_box',
    'prediction_to_image',
    'usable_boxes',
]
