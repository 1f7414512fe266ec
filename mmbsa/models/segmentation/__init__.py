"""Segmentation: decode heads for mmseg."""
__all__ = ['Spike2FormerHead', 'SpikeFCNHead', 'SpikeFPNHead', 'SpikeMLPHead', 'SpikeUPerHead']
