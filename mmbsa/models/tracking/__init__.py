"""Single-object tracking: SDTrack, its head and its losses."""
from mmbsa.models.tracking.losses import centre_focal_loss, centre_heatmap, tracking_losses

__all__ = ['centre_focal_loss', 'centre_heatmap', 'tracking_losses']
