"""Necks: time is read out for stock heads, or kept for spiking ones."""

from mmbsa.models.necks.level_adapter import LevelAdapter
from mmbsa.models.necks.spike_fpn import SpikeFPN
from mmbsa.models.necks.temporal_readout import TemporalReadout

__all__ = ['LevelAdapter', 'SpikeFPN', 'TemporalReadout']
