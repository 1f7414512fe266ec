"""Pictures of samples and predictions, and the hooks that save them."""

from mmbsa.visualization.cls_hook import ClsPictureHook, draw_sample
from mmbsa.visualization.instances import Instances, draw_instances, instances_side_by_side
from mmbsa.visualization.label_map_hook import LabelMapHook
from mmbsa.visualization.overlay import blend, legend, side_by_side, titled, write_image
from mmbsa.visualization.overlay_hook import DetOverlayHook, SegOverlayHook
from mmbsa.visualization.pictures import event_picture, frame_sheet, to_picture

__all__ = [
    'ClsPictureHook',
    'DetOverlayHook',
    'Instances',
    'LabelMapHook',
    'SegOverlayHook',
    'blend',
    'draw_instances',
    'draw_sample',
    'event_picture',
    'frame_sheet',
    'instances_side_by_side',
    'legend',
    'side_by_side',
    'titled',
    'to_picture',
    'write_image',
]
