"""Layers that several families use; inputs and outputs are time-major maps (T, B, C, H, W)."""

from mmbsa.models.layers.conv import Conv2d, init_convolutions
from mmbsa.models.layers.expert_mlp import ExpertsMLP
from mmbsa.models.layers.firing_rate import FiringRate
from mmbsa.models.layers.fuse import fuse
from mmbsa.models.layers.haar import HaarMixer
from mmbsa.models.layers.readout import SpikingReadout, TimeReadout
from mmbsa.models.layers.rep_conv import RepConv
from mmbsa.models.layers.residual import Residual, checkpointed, drop_path_rates
from mmbsa.models.layers.spike_conv import SepSpikeConv, SpikeConv, SpikeMLP, max_pool
from mmbsa.models.layers.time import (
    TIME_MODES,
    Timewise,
    check_steps,
    keep_grad_layout,
    merge_time,
    read_time,
    split_time,
)

__all__ = [
    'Conv2d',
    'ExpertsMLP',
    'FiringRate',
    'HaarMixer',
    'RepConv',
    'Residual',
    'SepSpikeConv',
    'SpikeConv',
    'SpikeMLP',
    'SpikingReadout',
    'TIME_MODES',
    'TimeReadout',
    'Timewise',
    'check_steps',
    'checkpointed',
    'drop_path_rates',
    'fuse',
    'keep_grad_layout',
    'init_convolutions',
    'max_pool',
    'merge_time',
    'read_time',
    'split_time',
]
