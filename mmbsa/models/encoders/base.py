"""What encoders share: shapes, layout, and pixels in [0, 1]."""

from torch import Tensor

from mmbsa.spiking import Stateful


class Encoder(Stateful):
    """From inputs to time-major maps.

    Inside :func:`mmbsa.spiking.stream` an image is one step of its code, and the state counts the
    steps.

    Args:
        num_steps: T >= 1.

    Raises:
        ValueError: T < 1, or an input of another shape.
    """

    #: whether the code of an image goes on after T steps.
    endless = False

    def __init__(self, num_steps: int = 1):
        super().__init__()
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f'num_steps must be an integer >= 1, got {num_steps!r}')
        self.num_steps = num_steps

    def from_rest(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), sequences (B, C, 1, L), or event frames (B, T, C, H, W) -> (T, B, C,
        H, W).

        On CPUs and GPUs channels come last in memory, where convolutions gain by it.
        """
        return _channels_last(self._code(x))

    def run(self, x: Tensor, state: int | None = None) -> tuple[Tensor, int]:
        """The next step of an image (B, C, H, W), or the event frames at hand (B, T', C, H, W), and
        the steps so far.

        Raises:
            ValueError: an image whose code has ended.
        """
        step = 0 if state is None else state
        code = self._code(x)
        if x.ndim == 4:
            if self.endless:
                code = code[:1]
            elif step >= self.num_steps:
                raise ValueError(
                    f'{type(self).__name__}: the code of an image has num_steps={self.num_steps} '
                    'steps, '
                    'all of which were streamed; start with a new state'
                )
            else:
                code = code[step : step + 1]
        return _channels_last(code), step + len(code)

    def _code(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return self.encode(x)
        if x.ndim == 5:
            return self.frames(x)
        raise ValueError(
            'expected images (B, C, H, W), sequences (B, C, 1, L) or event frames (B, T, C, H, W), '
            'got '
            f'{tuple(x.shape)}'
        )

    def encode(self, x: Tensor) -> Tensor:
        """Encode images: (B, C, H, W) -> (T, B, C, H, W). Subclasses define it."""
        raise NotImplementedError(f'{type(self).__name__} must define encode')

    def frames(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (T, B, C, H, W)."""
        raise ValueError(
            f'{type(self).__name__} encodes images; event frames {tuple(x.shape)} have a time axis '
            'already and '
            "need backbone.encoder=dict(type='mmbsa.DirectEncoder')"
        )


def _channels_last(x: Tensor) -> Tensor:
    """Copy once into this layout, which then lasts through the whole backbone; equal steps stay one
    memory."""
    if x.device.type != 'cpu' and not x.is_cuda:
        return x
    same = len(x) > 1 and x.stride(0) == 0
    maps = (x[:1] if same else x).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return maps.expand_as(x) if same else maps


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
                f'{type(self).__name__} encodes pixels in [0, 1], but its input lies in '
                f'[{low:.3g}, {high:.3g}]: let '
                'data_preprocessor scale and not standardise pixels (mean=[0, 0, 0], std=[255, '
                '255, 255])'
            )
        return self.encode_pixels(x.clamp(0, 1))

    def encode_pixels(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (T, B, C, H, W)."""
        raise NotImplementedError(f'{type(self).__name__} must define encode_pixels')
