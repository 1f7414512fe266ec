"""Pipeline steps that read recordings and convert them to frames."""

import os
from collections.abc import Collection

import numpy as np
from mmcv.transforms import BaseTransform

from mmbsa.datasets.frame_cache import FrameCache
from mmbsa.events import frame_index, integrate, make_events, read_events, resize
from mmbsa.events.reading import check_repair
from mmbsa.registry import TRANSFORMS


def checked_repair(name: str, repair: str | Collection[str]) -> tuple[str, ...]:
    """Return the sorted faults to repair; an unknown one raises ValueError."""
    try:
        return tuple(sorted(check_repair(repair)))
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from error


def read_sample(results: dict, repair: tuple[str, ...]) -> np.ndarray:
    """Return the events of the recording that a sample describes.

    Args:
        results: the sample.
        repair: faults that are repaired.
    """
    return read_events(
        results['img_path'],
        results.get('part'),
        layout=results.get('layout'),
        sensor_size=results['sensor_size'],
        repair=repair,
    )


@TRANSFORMS.register_module()
class LoadEvents(BaseTransform):
    """Read the events of a sample of ``mmbsa.EventDataset`` or ``mmbsa.SpikingAudioDataset``.

    Required keys: ``img_path``, ``sensor_size``; optional: ``part``, ``layout``. Added keys:
    ``events`` (N,) with the fields x, y, t, p; ``ori_shape`` (height, width).

    Args:
        repair: faults of recordings that are repaired instead of raising an error: ``'truncated'``,
            ``'unsorted'``, ``'outside'``, ``'empty'``, several of them, or ``'all'``; none by
            default. See ``mmbsa.events.iter_events``.

    Raises:
        ValueError: a recording is damaged; the message names the file.
    """

    def __init__(self, repair: str | Collection[str] = ()) -> None:
        self.repair = checked_repair(type(self).__name__, repair)

    def transform(self, results: dict) -> dict:
        """Add the events to ``results``."""
        results['events'] = read_sample(results, self.repair)
        results['ori_shape'] = tuple(results['sensor_size'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(repair={self.repair})'


@TRANSFORMS.register_module()
class EventsToFrames(BaseTransform):
    """Count events per frame, polarity and pixel.

    Required keys: ``events``, ``sensor_size``. Added keys: ``img`` (T, 2, H, W) float32 with the
    channels off and on; ``img_shape``. The key ``events`` is removed.

    Args:
        num_frames: number of frames T, 16 by default. With ``by='duration'``, recordings are cut or
            extended by empty frames to T; None keeps their length, and the data preprocessor pads
            them.
        by: ``'number'`` (default; the same number of events in each frame), ``'time'`` (the same
            duration of each frame of a recording), or ``'duration'`` (a fixed duration).
        duration: length of a frame for ``by='duration'``, in the time unit of the recording.
        size: (height, width) of the frames; each pixel counts the events of the sensor pixels in
            its area. None (default) uses the size of the sensor.

    Raises:
        ValueError: arguments contradict each other, or a recording has events outside of its
            sensor.
    """

    def __init__(
        self,
        num_frames: int | None = 16,
        by: str = 'number',
        duration: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        if (
            by == 'duration'
            and num_frames is not None
            and (not isinstance(num_frames, int) or num_frames < 1)
        ):
            raise ValueError(
                f'{type(self).__name__}: num_frames must be a positive integer or None, got '
                f'{num_frames!r}'
            )
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f'{type(self).__name__}: size must be (height, width), got {size!r}')
        self.num_frames, self.by, self.duration = num_frames, by, duration
        self.size = None if size is None else tuple(size)
        try:  # check the arguments with no events
            frame_index(
                make_events([], [], [], []), by, None if by == 'duration' else num_frames, duration
            )
        except ValueError as error:
            raise ValueError(f'{type(self).__name__}: {error}') from error

    def integrate(self, events: np.ndarray, sensor_size: tuple[int, int]) -> np.ndarray:
        """Return counts (T, 2, H, W).

        Args:
            events: (N,) with the fields x, y, t, p.
            sensor_size: (height, width) of the sensor in pixels.
        """
        if self.size is not None:
            events, sensor_size = resize(events, sensor_size, self.size), self.size
        if self.by != 'duration':
            return integrate(events, sensor_size, self.by, self.num_frames)
        frames = integrate(events, sensor_size, self.by, duration=self.duration)
        if self.num_frames is None:
            return frames
        missing = max(self.num_frames - len(frames), 0)
        return np.pad(frames[: self.num_frames], ((0, missing), (0, 0), (0, 0), (0, 0)))

    def transform(self, results: dict) -> dict:
        """Replace the events by frames."""
        results['img'] = self.integrate(results.pop('events'), results['sensor_size']).astype(
            np.float32
        )
        results['img_shape'] = results['img'].shape[-2:]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_frames={self.num_frames}, by={self.by!r}, '
            f'duration={self.duration}, size={self.size})'
        )


@TRANSFORMS.register_module()
class LoadEventFrames(EventsToFrames):
    """``LoadEvents`` and ``EventsToFrames`` in one step, with an optional cache of the frames.

    Required keys: ``img_path``, ``sensor_size``; optional: ``part``, ``layout``. Added keys:
    ``img`` (T, 2, H, W) float32, ``img_shape``, ``ori_shape``.

    Args:
        args: positional arguments of :class:`EventsToFrames`.
        cache_dir: folder of the cache, see ``mmbsa.datasets.frame_cache``; None (default) reads and
            integrates every time.
        repair: faults that are repaired, as in :class:`LoadEvents`; none by default.
        kwargs: keyword arguments of :class:`EventsToFrames`.
    """

    def __init__(
        self,
        *args,
        cache_dir: str | os.PathLike | None = None,
        repair: str | Collection[str] = (),
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.cache_dir, self.repair = cache_dir, checked_repair(type(self).__name__, repair)

    def transform(self, results: dict) -> dict:
        """Add the frames to ``results``."""
        size = tuple(results['sensor_size'])

        def make() -> np.ndarray:
            return self.integrate(read_sample(results, self.repair), size)

        if self.cache_dir is None:
            frames = make()
        else:
            cache = FrameCache(
                self.cache_dir,
                dict(
                    by=self.by,
                    num_frames=self.num_frames,
                    duration=self.duration,
                    size=self.size,
                    sensor_size=size,
                    layout=results.get('layout'),
                    repair=self.repair,
                ),
            )
            frames = cache.get(results['img_path'], make, results.get('part'))
        results['img'] = frames.astype(np.float32)
        results['ori_shape'], results['img_shape'] = size, frames.shape[-2:]
        return results


@TRANSFORMS.register_module()
class EventPictureToChannels(BaseTransform):
    """Convert a picture of an event frame (one grey level per polarity) to two channels.

    It follows ``LoadImageFromFile(color_type='grayscale')``. Required key: ``img`` (H, W) or
    (H, W, 1). Changed key: ``img`` (H, W, 2) float32, off and on, 0 or 1. A stock data preprocessor
    converts it to (B, 2, H, W), and an encoder repeats it over time.

    Args:
        off, none, on: grey levels of an off event, of no event and of an on event; 0, 128 and 255
            by default.

    Raises:
        ValueError: the levels are equal, or a pixel has another level (a picture that was resized
            or compressed with loss).
    """

    def __init__(self, off: int = 0, none: int = 128, on: int = 255) -> None:
        if len({off, none, on}) != 3:
            raise ValueError(
                f'EventPictureToChannels: off, none and on must differ, got {off}, {none} and {on}'
            )
        self.off, self.none, self.on = off, none, on

    def transform(self, results: dict) -> dict:
        """Replace the picture by its two channels."""
        img = results['img']
        if img.ndim == 3 and img.shape[-1] == 1:
            img = img[..., 0]
        if img.ndim != 2:
            raise ValueError(
                f'expected a grey picture (H, W), got the shape {img.shape}; load it with '
                "color_type='grayscale'"
            )
        off, on = img == self.off, img == self.on
        others = np.unique(img[~(off | on | (img == self.none))])
        if len(others):
            raise ValueError(
                f'expected the grey levels {self.off} (off), {self.none} (none) and {self.on} '
                f'(on), also found {others[:5].tolist()}'
            )
        results['img'] = np.stack([off, on], -1).astype(np.float32)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(off={self.off}, none={self.none}, on={self.on})'


@TRANSFORMS.register_module()
class ChannelsToMap(BaseTransform):
    """Reshape the frequency channels of spoken words to square maps with two channels.

    It follows ``LoadEventFrames`` of ``SpikingAudioDataset``. Changed keys: ``img`` (T, 2, 1, C) ->
    (T, 2, side, side) float32; ``img_shape``. The lower half of the frequency channels becomes the
    first channel of the map, the upper half the second. Each half is stretched to side x side
    values by nearest neighbours and arranged row by row, as in TIM's model for SHD.

    Args:
        side: side of the map in pixels; 16 (default) for ``arch='tim-shd-2-256'``.

    Raises:
        ValueError: frames have another shape, or C is odd.
    """

    def __init__(self, side: int = 16) -> None:
        self.side = side

    def transform(self, results: dict) -> dict:
        """Replace the frames by maps."""
        img = results['img']
        if img.ndim != 4 or img.shape[1] != 2 or img.shape[2] != 1 or img.shape[3] % 2:
            raise ValueError(
                'ChannelsToMap: expected frames (T, 2, 1, C) with an even number C of frequency '
                f'channels, got the shape {img.shape}'
            )
        half = img.shape[3] // 2
        place = np.arange(self.side**2) * half // self.side**2
        halves = img.sum(1).reshape(len(img), 2, half)
        results['img'] = halves[..., place].reshape(len(img), 2, self.side, self.side)
        results['img_shape'] = (self.side, self.side)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(side={self.side})'
