"""Pure functions on events: numpy in, numpy out, inputs never edited, random numbers only from a generator passed in."""
from mmbsa.events.array import EVENT_DTYPE, check_fields, make_events
from mmbsa.events.dat import read_dat
from mmbsa.events.frames import cutout_frames, flip_frames, integrate, roll_frames, warp_frames
from mmbsa.events.geometry import rotation, shearing
from mmbsa.events.mixing import box_mask, gaussian_mask, mix_frames
from mmbsa.events.points import cutout, flip, resize, roll, warp
from mmbsa.events.slicing import frame_index

__all__ = [
    'EVENT_DTYPE', 'box_mask', 'check_fields', 'cutout', 'cutout_frames', 'flip', 'flip_frames', 'frame_index',
    'gaussian_mask', 'integrate', 'make_events', 'mix_frames', 'read_dat', 'resize', 'roll', 'roll_frames', 'rotation',
    'shearing', 'warp', 'warp_frames'
]
