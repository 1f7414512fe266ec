"""Spiking heads of detectors: from time-major maps to boxes and masks."""

from mmbsa.models.detection.heads.dense import SpikeRetinaHead, SpikeRPNHead
from mmbsa.models.detection.heads.roi import (
    SpikeCascadeRoIHead,
    SpikeFCNMaskHead,
    SpikeRoIExtractor,
    SpikeRoIHead,
    SpikeShared2FCBBoxHead,
)

__all__ = [
    'SpikeCascadeRoIHead',
    'SpikeFCNMaskHead',
    'SpikeRPNHead',
    'SpikeRetinaHead',
    'SpikeRoIExtractor',
    'SpikeRoIHead',
    'SpikeShared2FCBBoxHead',
]
