"""Datasets of event-based single-object tracking."""

from mmbsa.datasets.tracking.benchmarks import TrackingDataset
from mmbsa.datasets.tracking.layouts import LAYOUTS
from mmbsa.datasets.tracking.moving_targets import MovingTargets

__all__ = ['LAYOUTS', 'MovingTargets', 'TrackingDataset']
