"""Pictures of predictions, and the hooks that save them."""
from mmbsa.visualization.instances import Instances, draw_instances, instances_side_by_side
from mmbsa.visualization.overlay import blend, legend, side_by_side, write_image
from mmbsa.visualization.overlay_hook import DetOverlayHook, SegOverlayHook

__all__ = ['DetOverlayHook', 'Instances', 'SegOverlayHook', 'blend', 'draw_instances', 'instances_side_by_side',
           'legend', 'side_by_side', 'write_image']
