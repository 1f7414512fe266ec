"""Pictures of samples and predictions, and the hooks that save them."""
from mmbsa.visualization.cls_hook import ClsPictureHook, draw_sample
from mmbsa.visualization.label_map_hook import LabelMapHook
from mmbsa.visualization.overlay import blend, legend, side_by_side, titled, write_image
from mmbsa.visualization.overlay_hook import SegOverlayHook
from mmbsa.visualization.pictures import event_picture, frame_sheet, to_picture

__all__ = [
    'ClsPictureHook', 'LabelMapHook', 'SegOverlayHook', 'blend', 'draw_sample', 'event_picture', 'frame_sheet',
    'legend', 'side_by_side', 'titled', 'to_picture', 'write_image'
]
