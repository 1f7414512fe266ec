"""Tensor functions (ops), each with several implementations. They import only torch."""

from mmbsa.ops.bipolar_attention import bipolar_attention
from mmbsa.ops.conv_weight_grad import conv_weight_grad
from mmbsa.ops.dispatch import implementations
from mmbsa.ops.integer_spike import integer_spike
from mmbsa.ops.lif import lif, ternary_lif
from mmbsa.ops.shiftmax import shiftmax

__all__ = [
    'bipolar_attention',
    'conv_weight_grad',
    'implementations',
    'integer_spike',
    'lif',
    'shiftmax',
    'ternary_lif',
]
