"""Detection and instance segmentation: spiking heads for mmdet's detectors."""
from mmbsa.models.detection.heads import (
    SpikeCascadeRoIHead,
    SpikeFCNMaskHead,
    SpikeRetinaHead,
    SpikeRoIExtractor,
    SpikeRoIHead,
    SpikeRPNHead,
    SpikeShared2FCBBoxHead,
)

__all__ = ['SpikeCascadeRoIHead', 'SpikeFCNMaskHead', 'SpikeRPNHead', 'SpikeRetinaHead', 'SpikeRoIExtractor',
           'SpikeRoIHead', 'SpikeShared2FCBBoxHead']
