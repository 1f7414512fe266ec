"""Detection and instance segmentation: spiking heads for mmdet's detectors."""
from mmbsa.utils.mmcv_ops import provide_ops

provide_ops()  # before mmdet's models, which do not import without mmcv's ops

from mmbsa.models.detection.heads import (  # noqa: E402
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
