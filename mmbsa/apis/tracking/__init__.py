"""Tracking in a recording with a trained model, frame by frame, in bounded memory."""

from mmbsa.apis.tracking.recordings import Source, open_source
from mmbsa.apis.tracking.run import TrackedFrame, load_tracker, track_frames

__all__ = ['Source', 'TrackedFrame', 'load_tracker', 'open_source', 'track_frames']
