"""Datasets and pipeline steps."""

from importlib.util import find_spec

from mmbsa.datasets.cifar import CIFAR10, CIFAR100
from mmbsa.datasets.drawn_instances import DrawnInstances
from mmbsa.datasets.event_boxes import EventBoxes
from mmbsa.datasets.event_dataset import EventDataset
from mmbsa.datasets.point_solids import PointSolids
from mmbsa.datasets.points import ModelNet, ScanObjectNN
from mmbsa.datasets.spiking_audio import SpikingAudioDataset
from mmbsa.datasets.tiny_imagenet import TinyImageNet
from mmbsa.datasets.tracking import MovingTargets, TrackingDataset

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'DrawnInstances',
    'EventBoxes',
    'EventDataset',
    'ModelNet',
    'MovingTargets',
    'PointSolids',
    'ScanObjectNN',
    'SpikingAudioDataset',
    'TinyImageNet',
    'TrackingDataset',
]

if find_spec('mmseg'):
    from mmbsa.datasets.camvid import CamVidDataset
    from mmbsa.datasets.drawn_scenes import DrawnScenes

    __all__ += ['CamVidDataset', 'DrawnScenes']

if find_spec('mmdet'):
    from mmbsa.datasets.coco import CocoDataset

    __all__ += ['CocoDataset']
