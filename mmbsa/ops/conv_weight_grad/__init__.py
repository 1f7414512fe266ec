"""The gradient of a convolution with respect to its weight; oneDNN computes it slowly on CPUs
without AVX512."""

from mmbsa.ops.conv_weight_grad.api import conv_weight_grad, preferred

__all__ = ['conv_weight_grad', 'preferred']
