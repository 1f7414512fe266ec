"""Models; importing this package registers every class that the installed mm packages support."""

from importlib import import_module
from importlib.util import find_spec

# This import comes first: mmdet's models need mmcv's ops, and mmpretrain and mmseg import the
# existing ones.
if find_spec('mmdet'):
    import mmbsa.utils.mmcv_ops  # noqa: F401

from mmbsa.models import (  # noqa: E402
    attentions,
    backbones,
    classification,
    encoders,
    layers,
    necks,
    neurons,
    tracking,
)

__all__ = [
    'attentions',
    'backbones',
    'classification',
    'encoders',
    'layers',
    'necks',
    'neurons',
    'tracking',
]

#: task package -> the mm package that it needs.
TASKS = dict(detection='mmdet', points='mmpretrain', segmentation='mmseg')
for _task, _package in TASKS.items():
    if find_spec(_package):
        globals()[_task] = import_module(f'mmbsa.models.{_task}')
        __all__.append(_task)
