"""Rate, time-to-first-spike and phase codes of pixels in [0, 1]."""

import torch
from spikingjelly.activation_based import encoding as sj
from torch import Tensor

from mmbsa.models.encoders.base import PixelEncoder
from mmbsa.registry import MODELS


@MODELS.register_module()
class RateEncoder(PixelEncoder):
    r"""Rate code: a pixel x gives a spike in every time step with probability x.

    .. math:: S_t \sim Bernoulli(x)

    In training every sample and step has new random numbers. In evaluation the random numbers come
    from ``seed`` and are the same for all samples, so that predictions are repeatable and do not
    depend on a sample's index in the batch.

    Args:
        num_steps: T, the number of time steps; default 1.
        seed: seed of the random numbers in evaluation; default 0.
    """

    def __init__(self, num_steps: int = 1, seed: int = 0):
        super().__init__(num_steps)
        self.seed = seed

    def encode_pixels(self, x: Tensor) -> Tensor:
        """Return spikes (T, B, C, H, W) for images (B, C, H, W) with values in [0, 1]."""
        if self.training:
            draws = torch.rand(self.num_steps, *x.shape, device=x.device)
        else:
            generator = torch.Generator().manual_seed(self.seed)
            draws = torch.rand(self.num_steps, 1, *x.shape[1:], generator=generator).to(x.device)
        return (draws < x).to(x.dtype)  # draws are in [0, 1): no spike for 0, always one for 1

    def extra_repr(self) -> str:
        """Return the seed for ``repr``."""
        return f'num_steps={self.num_steps}, seed={self.seed}'


@MODELS.register_module()
class TTFSEncoder(PixelEncoder):
    r"""Time-to-first-spike code: one spike per pixel, earlier for a brighter pixel.

    .. math:: t^* = 1 + \lfloor (1 - x) T \rfloor, \quad S_t = a(t^*)\, [t = t^*]

    A black pixel has t* = T + 1 and gives no spike (the formula of the STEP benchmark).

    Args:
        num_steps: T, the number of time steps; default 1.
        amplitude: value a of a spike: ``'inverse'`` (default), a = 1 / t*, or ``'one'``, a = 1.
        latency: ``'floor'`` (default) is the formula above; ``'linear'`` and ``'log'`` are those of
            SpikingJelly's ``LatencyEncoder``, in which a black pixel gives a spike in the last
            step.

    Raises:
        ValueError: ``amplitude`` or ``latency`` is unknown.
    """

    def __init__(self, num_steps: int = 1, amplitude: str = 'inverse', latency: str = 'floor'):
        super().__init__(num_steps)
        if amplitude not in ('inverse', 'one'):
            raise ValueError(
                f"TTFSEncoder: amplitude must be 'inverse' or 'one', got {amplitude!r}"
            )
        if latency not in ('floor', 'linear', 'log'):
            raise ValueError(
                f"TTFSEncoder: latency must be 'floor', 'linear' or 'log', got {latency!r}"
            )
        self.amplitude, self.latency = amplitude, latency

    def encode_pixels(self, x: Tensor) -> Tensor:
        """Return the code (T, B, C, H, W) of images (B, C, H, W) with values in [0, 1]."""
        steps = torch.arange(1, self.num_steps + 1, device=x.device, dtype=x.dtype).view(
            -1, 1, 1, 1, 1
        )
        if self.latency == 'floor':
            spikes = (steps == 1 + ((1 - x) * self.num_steps).floor()).to(x.dtype)
        elif self.num_steps == 1:
            spikes = torch.ones_like(x).unsqueeze(0)
        else:
            spikes = sj.LatencyEncoder(self.num_steps, self.latency).single_step_encode(x)
        return spikes / steps if self.amplitude == 'inverse' else spikes

    def extra_repr(self) -> str:
        """Return amplitude and latency for ``repr``."""
        return f'num_steps={self.num_steps}, amplitude={self.amplitude}, latency={self.latency}'


@MODELS.register_module()
class PhaseEncoder(PixelEncoder):
    r"""Weighted phase code (Kim et al., Neurocomputing 2018): the binary digits of a pixel,
    starting with the most significant.

    .. math:: v = \min(\lfloor 256\, x \rfloor, 255), \quad b = (t - 1) \bmod 8, \quad S_t =
        2^{-(b+1)}\, [bit_{7-b}(v) = 1]

    With T < 8 the last digits are omitted, with T > 8 the code repeats. The digits are the same as
    SpikingJelly's.

    Args:
        num_steps: T, the number of time steps; default 1.
        bits: number of digits in a period; default 8, as in the formula.

    Raises:
        ValueError: ``bits`` is outside 1..16.
    """

    def __init__(self, num_steps: int = 1, bits: int = 8):
        super().__init__(num_steps)
        if not 1 <= bits <= 16:
            raise ValueError(f'PhaseEncoder: bits must be in 1..16, got {bits}')
        self.bits = bits

    def encode_pixels(self, x: Tensor) -> Tensor:
        """Return the code (T, B, C, H, W) of images (B, C, H, W) with values in [0, 1]."""
        digits = sj.WeightedPhaseEncoder(self.bits).single_step_encode(
            x.float().clamp(max=1 - 2.0**-self.bits)
        )
        place = torch.arange(self.num_steps, device=x.device) % self.bits
        weights = 2.0 ** -(place + 1)
        return (digits[place] * weights.view(-1, 1, 1, 1, 1)).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the number of digits for ``repr``."""
        return f'num_steps={self.num_steps}, bits={self.bits}'
