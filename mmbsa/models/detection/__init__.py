"""Detection and instance segmentation: spiking heads for the detectors of mmdet."""

from mmbsa.models.detection.data_preprocessor import EventDetDataPreprocessor
from mmbsa.models.detection.heads import (
    SpikeCascadeRoIHead,
    SpikeFCNMaskHead,
    SpikeRetinaHead,
    SpikeRoIExtractor,
    SpikeRoIHead,
    SpikeRPNHead,
    SpikeShared2FCBBoxHead,
)

__all__ = [
    'EventDetDataPreprocessor',
    'SpikeCascadeRoIHead',
    'SpikeFCNMaskHead',
    'SpikeRPNHead',
    'SpikeRetinaHead',
    'SpikeRoIExtractor',
    'SpikeRoIHead',
    'SpikeShared2FCBBoxHead',
]
