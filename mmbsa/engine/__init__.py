"""Hooks for training: checkpoints and exact resume, data checks, firing rates and energy."""

from mmbsa.engine.amp import CPUAmpOptimWrapper, Float32HeadsHook
from mmbsa.engine.checkpoint_hook import ResumableCheckpointHook
from mmbsa.engine.data_guard_hook import DataGuardHook
from mmbsa.engine.energy_hook import EnergyHook
from mmbsa.engine.firing_rate_hook import FiringRateHook
from mmbsa.engine.nodes import GatherResultsHook
from mmbsa.engine.non_finite_loss_hook import NonFiniteLossHook

__all__ = [
    'CPUAmpOptimWrapper',
    'DataGuardHook',
    'EnergyHook',
    'FiringRateHook',
    'Float32HeadsHook',
    'GatherResultsHook',
    'NonFiniteLossHook',
    'ResumableCheckpointHook',
]
