"""Base classes of encoders: input shapes, memory layout, and pixels in [0, 1]."""

from torch import Tensor

from mmbsa.spiking import Stateful


class Encoder(Stateful):
    """Base class of encoders: from an input to a time-major tensor (T, B, C, H, W).

    Inside :func:`mmbsa.spiking.stream` an image gives one step of its code per call, and the state
    counts the steps.

    Args:
        num_steps: T, the number of time steps, >= 1; default 1.

    Raises:
        ValueError: ``num_steps`` < 1, or the input has another shape.
    """

    #: whether the code of an image continues after T steps.
    endless = False

    def __init__(self, num_steps: int = 1):
        super().__init__()
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f'num_steps must be an integer >= 1, got {num_steps!r}')
        self.num_steps = num_steps

    def from_rest(self, x: Tensor) -> Tensor:
        """Encode an input from its first step.

        On CPUs and GPUs the result has the channels-last memory layout if convolutions are faster
        with it.

        Args:
            x: images (B, C, H, W), sequences (B, C, 1, L), or event frames (B, T, C, H, W).

        Returns:
            The code (T, B, C, H, W).
        """
        return _channels_last(self._code(x))

    def run(self, x: Tensor, state: int | None = None) -> tuple[Tensor, int]:
        """Return the next step of an image, or the given event frames, and the number of steps so
        far.

        Args:
            x: an image (B, C, H, W), or event frames (B, T', C, H, W).
            state: number of steps before this call; None (default) means 0.

        Raises:
            ValueError: all T steps of the image were returned before.
        """
        step = 0 if state is None else state
        code = self._code(x)
        if x.ndim == 4:
            if self.endless:
                code = code[:1]
            elif step >= self.num_steps:
                raise ValueError(
                    f'{type(self).__name__}: the code of an image has num_steps={self.num_steps} '
                    'steps, and all of them were used; start with a new state'
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
        """Return the code (T, B, C, H, W) of images (B, C, H, W); subclasses define it."""
        raise NotImplementedError(f'{type(self).__name__} must define encode')

    def frames(self, x: Tensor) -> Tensor:
        """Return event frames (B, T, C, H, W) as (T, B, C, H, W)."""
        raise ValueError(
            f'{type(self).__name__} encodes images; event frames {tuple(x.shape)} already have a '
            'time axis and '
            "need backbone.encoder=dict(type='mmbsa.DirectEncoder')"
        )


def _channels_last(x: Tensor) -> Tensor:
    """Copy a tensor to the channels-last layout, which the whole backbone then keeps; equal steps
    keep sharing memory."""
    if x.device.type != 'cpu' and not x.is_cuda:
        return x
    same = len(x) > 1 and x.stride(0) == 0
    maps = (x[:1] if same else x).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return maps.expand_as(x) if same else maps


class PixelEncoder(Encoder):
    """Base class of encoders of pixel intensities in [0, 1]."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the code (T, B, C, H, W) of images (B, C, H, W) with values in [0, 1].

        Raises:
            ValueError: a value is outside of [0, 1] by more than the rounding of mixed images.
        """
        low, high = (bound.item() for bound in x.aminmax())
        if low < -1e-4 or high > 1 + 1e-4:
            raise ValueError(
                f'{type(self).__name__} encodes pixels in [0, 1], but its input is in '
                f'[{low:.3g}, {high:.3g}]: set mean=[0, 0, 0] and std=[255, 255, 255] in '
                'data_preprocessor, which then scales pixels and does not standardise them'
            )
        return self.encode_pixels(x.clamp(0, 1))

    def encode_pixels(self, x: Tensor) -> Tensor:
        """Return the code (T, B, C, H, W) of images (B, C, H, W) with values in [0, 1]; subclasses
        define it."""
        raise NotImplementedError(f'{type(self).__name__} must define encode_pixels')
