"""Backbone swap: convert a stock config of mmseg, mmdet or mmpretrain to a spiking network."""

from mmbsa.apis.swap.level import SwapError
from mmbsa.apis.swap.load import load_config
from mmbsa.apis.swap.names import backbone_config, backbone_names, list_names
from mmbsa.apis.swap.swap import swap_backbone

__all__ = [
    'SwapError',
    'backbone_config',
    'backbone_names',
    'list_names',
    'load_config',
    'swap_backbone',
]
