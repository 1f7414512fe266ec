"""Single-object tracking: SDTrack, its head and its losses."""

from mmbsa.models.tracking.canvas import join_canvas, pair_features
from mmbsa.models.tracking.data_preprocessor import TrackDataPreprocessor
from mmbsa.models.tracking.head import CentreHead, CentreMaps, decode_boxes
from mmbsa.models.tracking.losses import centre_focal_loss, centre_heatmap, tracking_losses
from mmbsa.models.tracking.sdtrack import SDTrack
from mmbsa.models.tracking.state import CropRules, TrackState

__all__ = [
    'CentreHead',
    'CentreMaps',
    'CropRules',
    'SDTrack',
    'TrackDataPreprocessor',
    'TrackState',
    'centre_focal_loss',
    'centre_heatmap',
    'decode_boxes',
    'join_canvas',
    'pair_features',
    'tracking_losses',
]
