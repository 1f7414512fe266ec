"""What encoders share: shapes, layout, and pixels in [0, 1]."""
from torch import Tensor, nn


class Encoder(nn.Module):
    """From inputs to time-major maps.

    Args:
        num_steps: T >= 1.

    Raises:
        ValueError: T < 1, or an input of another shape.
    """

    def __init__(self, num_steps: int = 1):
        super().__init__()
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f'num_steps must be an integer >= 1, got {num_steps!r}')
        self.num_steps = num_steps

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), sequences (B, C, 1, L), or event frames (B, T, C, H, W) -> (T, B, C, H, W).

        On CPUs and GPUs channels come last in memory, where convolutions gain by it.
        """
        if x.ndim == 4:
            x = self.encode(x)
        elif x.ndim == 5:
            x = self.frames(x)
        else:
            raise ValueError('expected images (B, C, H, W), sequences (B, C, 1, L) or event frames (B, T, C, H, W), got '
                             f'{tuple(x.shape)}')
        if x.device.type == 'cpu' or x.is_cuda:
            # copy once, into this layout, which then lasts through the whole backbone; equal steps stay one memory
            same = len(x) > 1 and x.stride(0) == 0
            maps = (x[:1] if same else x).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
            x = maps.expand_as(x) if same else maps
        return x

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (T, B, C, H, W)."""
        raise NotImplementedError

    def frames(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (T, B, C, H, W)."""
        raise ValueError(f'{type(self).__name__} encodes images; event frames {tuple(x.shape)} have a time axis already and '
                         "need backbone.encoder=dict(type='mmbsa.DirectEncoder')")


class PixelEncoder(Encoder):
    """An encoder whose code is made for intensities in [0, 1]."""

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (T, B, C, H, W).

        Raises:
            ValueError: a value outside [0, 1] (by more than mixing pictures may round to).
        """
        low, high = (bound.item() for bound in x.aminmax())
        if low < -1e-4 or high > 1 + 1e-4:
            raise ValueError(
                f'{type(self).__name__} encodes pixels in [0, 1], but its input lies in [{low:.3g}, {high:.3g}]: let '
                'data_preprocessor scale and not standardise pixels (mean=[0, 0, 0], std=[255, 255, 255])')
        return self.encode_pixels(x.clamp(0, 1))

    def encode_pixels(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (T, B, C, H, W)."""
        raise NotImplementedError
