"""Necks: with a readout for heads of mm packages, or with a time axis for spiking heads."""

from mmbsa.models.necks.level_adapter import LevelAdapter
from mmbsa.models.necks.spike_fpn import SpikeFPN
from mmbsa.models.necks.temporal_readout import TemporalReadout

__all__ = ['LevelAdapter', 'SpikeFPN', 'TemporalReadout']
