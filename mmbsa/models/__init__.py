"""Models: importing this package registers every class of ours that the installed mm packages allow."""
from importlib import import_module
from importlib.util import find_spec

if find_spec('mmdet'):  # its models need mmcv's ops; first of all, as mmpretrain and mmseg import them where there are any
    import mmbsa.utils.mmcv_ops  # noqa: F401

from mmbsa.models import attentions, backbones, classification, encoders, layers, necks, neurons, tracking  # noqa: E402

__all__ = ['attentions', 'backbones', 'classification', 'encoders', 'layers', 'necks', 'neurons', 'tracking']

#: task package -> the mm package that it needs.
TASKS = dict(detection='mmdet', points='mmpretrain', segmentation='mmseg')
for _task, _package in TASKS.items():
    if find_spec(_package):
        globals()[_task] = import_module(f'mmbsa.models.{_task}')
        __all__.append(_task)
