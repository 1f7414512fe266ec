"""Augmentations of events or of event frames, depending on the content of a sample.

Each step changes ``events`` (N,) if the sample has them, and otherwise the frames ``img``
(T, P, H, W). All frames of a sample change in the same way. Random numbers come from numpy's global
generator, as in the other mm packages; the data stream seeds it per sample.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmbsa import events as ev
from mmbsa.registry import TRANSFORMS


class _EventAugmentation(BaseTransform):
    """Base class: change a sample with a probability.

    Args:
        prob: probability in [0, 1], 1 by default.
    """

    def __init__(self, prob: float = 1.0) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'{type(self).__name__}: prob must be in [0, 1], got {prob!r}')
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Change the events or the frames of ``results``."""
        chosen = np.random.rand() < self.prob
        if 'events' in results:
            size = tuple(results['sensor_size'])
            if chosen:
                results['events'] = self.change(results['events'], size, False)
            return results
        img = results.get('img')
        if img is None or img.ndim != 4:
            found = 'neither events nor img' if img is None else f'img of shape {img.shape}'
            raise ValueError(
                f'{type(self).__name__} needs events or frames (T, P, H, W), got {found}; it comes '
                'after mmbsa.LoadEvents or mmbsa.LoadEventFrames'
            )
        if chosen:
            results['img'] = self.change(img, img.shape[-2:], True)
        return results

    @abstractmethod
    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Return changed events (``frames`` is False) or frames of a sensor (height, width).

        Args:
            data: events (N,) or frames (T, P, H, W).
            size: (height, width) of the sensor in pixels.
            frames: whether ``data`` holds frames.
        """

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'


class _Limited(_EventAugmentation):
    def __init__(self, limit: float, name: str, prob: float) -> None:
        super().__init__(prob)
        if not limit > 0:
            raise ValueError(f'{type(self).__name__}: {name} must be positive, got {limit!r}')


@TRANSFORMS.register_module()
class EventFlip(_EventAugmentation):
    """Mirror events or frames in space or time.

    Args:
        direction: ``'horizontal'`` (default), ``'vertical'``, or ``'time'``, which reverses the
            time and swaps the polarities.
        prob: probability in [0, 1], 0.5 by default.
    """

    def __init__(self, direction: str = 'horizontal', prob: float = 0.5) -> None:
        super().__init__(prob)
        if direction not in ('horizontal', 'vertical', 'time'):
            raise ValueError(
                "EventFlip: direction must be 'horizontal', 'vertical' or 'time', got "
                f'{direction!r}'
            )
        self.direction = direction

    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Mirror ``data``."""
        return (
            ev.flip_frames(data, self.direction) if frames else ev.flip(data, size, self.direction)
        )


@TRANSFORMS.register_module()
class EventRoll(_Limited):
    """Shift by up to ``max_shift`` whole pixels in each direction, with wrap-around at the border.

    Args:
        max_shift: largest shift of x and of y in pixels, 5 by default.
        prob: probability in [0, 1], 1 by default.
    """

    def __init__(self, max_shift: int = 5, prob: float = 1.0) -> None:
        super().__init__(max_shift, 'max_shift', prob)
        self.max_shift = int(max_shift)

    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Shift ``data`` with wrap-around."""
        x, y = np.random.randint(-self.max_shift, self.max_shift + 1, 2).tolist()
        return ev.roll_frames(data, x, y) if frames else ev.roll(data, size, x, y)


class _Warp(_Limited):
    def warp(
        self,
        data: np.ndarray,
        size: tuple[int, int],
        frames: bool,
        matrix: np.ndarray,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        return ev.warp_frames(data, matrix, shift) if frames else ev.warp(data, size, matrix, shift)


@TRANSFORMS.register_module()
class EventTranslate(_Warp):
    """Shift by up to ``max_shift`` pixels; events outside of the sensor are removed.

    Args:
        max_shift: largest shift in pixels, 5 by default.
        direction: ``'horizontal'``, ``'vertical'`` or ``'both'`` (default).
        prob: probability in [0, 1], 1 by default.
    """

    def __init__(self, max_shift: float = 5, direction: str = 'both', prob: float = 1.0) -> None:
        super().__init__(max_shift, 'max_shift', prob)
        if direction not in ('horizontal', 'vertical', 'both'):
            raise ValueError(
                "EventTranslate: direction must be 'horizontal', 'vertical' or 'both', got "
                f'{direction!r}'
            )
        self.max_shift, self.direction = max_shift, direction

    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Shift ``data``."""
        x, y = np.random.uniform(-self.max_shift, self.max_shift, 2)
        return self.warp(
            data,
            size,
            frames,
            np.eye(2),
            (
                x if self.direction != 'vertical' else 0.0,
                y if self.direction != 'horizontal' else 0.0,
            ),
        )


@TRANSFORMS.register_module()
class EventRotate(_Warp):
    """Rotate around the centre by up to ``max_degrees`` in each direction.

    Args:
        max_degrees: largest angle in degrees, 30 by default.
        prob: probability in [0, 1], 1 by default.
    """

    def __init__(self, max_degrees: float = 30.0, prob: float = 1.0) -> None:
        super().__init__(max_degrees, 'max_degrees', prob)
        self.max_degrees = max_degrees

    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Rotate ``data``."""
        return self.warp(
            data, size, frames, ev.rotation(np.random.uniform(-self.max_degrees, self.max_degrees))
        )


@TRANSFORMS.register_module()
class EventShear(_Warp):
    """Shear around the centre by up to ``max_shear`` pixels per pixel in each direction.

    Args:
        max_shear: largest shear in pixels per pixel, 0.3 by default.
        direction: ``'horizontal'`` (default) or ``'vertical'``.
        prob: probability in [0, 1], 1 by default.
    """

    def __init__(
        self, max_shear: float = 0.3, direction: str = 'horizontal', prob: float = 1.0
    ) -> None:
        super().__init__(max_shear, 'max_shear', prob)
        if direction not in ('horizontal', 'vertical'):
            raise ValueError(
                f"EventShear: direction must be 'horizontal' or 'vertical', got {direction!r}"
            )
        self.max_shear, self.direction = max_shear, direction

    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Shear ``data``."""
        amount = np.random.uniform(-self.max_shear, self.max_shear)
        matrix = ev.shearing(x=amount) if self.direction == 'horizontal' else ev.shearing(y=amount)
        return self.warp(data, size, frames, matrix)


@TRANSFORMS.register_module()
class EventCutout(_Limited):
    """Erase a square at a random position in all frames; it may cross the border.

    Args:
        max_size: largest side in pixels, 30 by default; the side is drawn from ``1..max_size``.
        prob: probability in [0, 1], 1 by default.
    """

    def __init__(self, max_size: int = 30, prob: float = 1.0) -> None:
        super().__init__(max_size, 'max_size', prob)
        self.max_size = int(max_size)

    def change(self, data: np.ndarray, size: tuple[int, int], frames: bool) -> np.ndarray:
        """Erase a square of ``data``."""
        side = int(np.random.randint(1, self.max_size + 1))
        y, x = (int(np.random.randint(length)) - side // 2 for length in size)
        return (ev.cutout_frames if frames else ev.cutout)(data, x, y, side, side)


@TRANSFORMS.register_module()
class EventDropFrames(_EventAugmentation):
    """Keep ``num_frames`` random frames in their order (random temporal deletion).

    Args:
        num_frames: number of frames that remain.

    Raises:
        ValueError: ``num_frames`` is not a positive integer, or a sample has fewer frames.
    """

    def __init__(self, num_frames: int) -> None:
        super().__init__(1.0)
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(
                f'EventDropFrames: num_frames must be a positive integer, got {num_frames!r}'
            )
        self.num_frames = num_frames

    def change(self, data: np.ndarray, size: Sequence[int], frames: bool) -> np.ndarray:
        """Select random frames of ``data``."""
        if not frames or len(data) < self.num_frames:
            raise ValueError(
                f'EventDropFrames: expected at least {self.num_frames} frames, got '
                + (f'{len(data)}' if frames else 'events')
            )
        return data[np.sort(np.random.permutation(len(data))[: self.num_frames])]
