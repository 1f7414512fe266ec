"""Round a membrane potential to a count of spikes, with a straight-through gradient (I-LIF, Luo et
al., ECCV 2024)."""

from mmbsa.ops.integer_spike.api import integer_spike, spikes_and_counts

__all__ = ['integer_spike', 'spikes_and_counts']
