"""Events of event cameras: readers of recordings, and pure functions of events.

The functions take and return numpy arrays. They never change their inputs, and they take random
numbers only from a generator argument.
"""

from mmbsa.events.array import EVENT_DTYPE, as_events, drop_outside, make_events
from mmbsa.events.boxes import BOX_DTYPE, read_boxes
from mmbsa.events.formats.aedat4 import read_frame_times
from mmbsa.events.formats.source import RecordingError, TruncatedError
from mmbsa.events.frames import cutout_frames, flip_frames, integrate, roll_frames, warp_frames
from mmbsa.events.geometry import rotation, shearing
from mmbsa.events.mixing import box_mask, gaussian_mask, mix_frames
from mmbsa.events.points import cutout, flip, resize, roll, warp
from mmbsa.events.reading import iter_events, open_recording, read_events
from mmbsa.events.representations import time_surface, voxel_grid
from mmbsa.events.slicing import frame_index, iter_windows, slice_time, split_windows
from mmbsa.events.trajectory_prompt import (
    draw_trajectory,
    iter_trajectory_prompt,
    trajectory_prompt,
)
from mmbsa.events.windows import read_window

__all__ = [
    'BOX_DTYPE',
    'EVENT_DTYPE',
    'RecordingError',
    'TruncatedError',
    'as_events',
    'box_mask',
    'cutout',
    'cutout_frames',
    'draw_trajectory',
    'drop_outside',
    'flip',
    'flip_frames',
    'frame_index',
    'gaussian_mask',
    'integrate',
    'iter_events',
    'iter_trajectory_prompt',
    'iter_windows',
    'make_events',
    'mix_frames',
    'open_recording',
    'read_boxes',
    'read_events',
    'read_frame_times',
    'read_window',
    'resize',
    'roll',
    'roll_frames',
    'rotation',
    'shearing',
    'slice_time',
    'split_windows',
    'time_surface',
    'trajectory_prompt',
    'voxel_grid',
    'warp',
    'warp_frames',
]
