"""Pictures of predictions, and the hook that saves them."""
from mmbsa.visualization.overlay import blend, legend, side_by_side, write_image
from mmbsa.visualization.overlay_hook import SegOverlayHook

__all__ = ['SegOverlayHook', 'blend', 'legend', 'side_by_side', 'write_image']
