"""Models: importing this package registers every class of ours that the installed mm packages allow."""
from importlib import import_module
from importlib.util import find_spec

from mmbsa.models import attentions, backbones, classification, encoders, layers, necks, neurons

__all__ = ['attentions', 'backbones', 'classification', 'encoders', 'layers', 'necks', 'neurons']

#: task package -> the mm package that it needs. Detection is first: it provides the ops of mmcv that mmdet needs, and
#: mmseg imports mmdet's models where there are any.
TASKS = dict(detection='mmdet', segmentation='mmseg')
for _task, _package in TASKS.items():
    if find_spec(_package):
        globals()[_task] = import_module(f'mmbsa.models.{_task}')
        __all__.append(_task)
