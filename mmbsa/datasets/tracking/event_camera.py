"""Model of an event camera that converts pictures to events."""

import numpy as np

#: fields of an event: column, row, time in microseconds, polarity (1 brighter, 0 darker).
EVENT = np.dtype([('x', np.uint16), ('y', np.uint16), ('t', np.int64), ('p', np.uint8)])


class EventCamera:
    r"""Pixels that emit an event when their log intensity has changed by a threshold.

    Each pixel stores the log intensity of its last event and emits one event per threshold by which
    the picture differs from it:

    .. math:: n = \lfloor (\ln(I + \epsilon) - L_{ref}) / \theta \rfloor, \quad L_{ref} \to L_{ref}
        + n \theta

    Each pixel has one threshold for brighter and one for darker, drawn once around a mean. Pixels
    also emit random events at a low rate, as real pixels do.

    Args:
        picture: first picture (H, W) with intensities >= 0; it causes no events.
        rng: random generator of thresholds and noise.
        threshold: mean of theta, 0.2 by default.
        threshold_noise: standard deviation of theta relative to the mean, 0.15 by default.
        noise_rate: random events per pixel and second, 0.5 by default.
        epsilon: value added to intensities, 0.02 by default.

    Raises:
        ValueError: ``threshold`` is not positive, or a noise value is negative.
    """

    def __init__(
        self,
        picture: np.ndarray,
        rng: np.random.Generator,
        threshold: float = 0.2,
        threshold_noise: float = 0.15,
        noise_rate: float = 0.5,
        epsilon: float = 0.02,
    ):
        if threshold <= 0 or threshold_noise < 0 or noise_rate < 0:
            raise ValueError(
                f'EventCamera: threshold={threshold} must be positive, threshold_noise='
                f'{threshold_noise} and noise_rate={noise_rate} not negative'
            )
        self.rng, self.noise_rate, self.epsilon = rng, noise_rate, epsilon
        spread = rng.normal(1, threshold_noise, (2, *picture.shape))
        self.thresholds = threshold * np.maximum(spread, 0.2)  # (2, H, W): darker, brighter
        self.reference = np.log(picture + epsilon)

    def see(self, picture: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the events between the last picture (at ``start``) and this one (at ``stop``).

        Args:
            picture: the next picture (H, W).
            start, stop: times in microseconds; the events of a pixel are spread evenly between
                them.

        Returns:
            (N,) of dtype ``EVENT``, ordered by time.
        """
        change = np.log(picture + self.epsilon) - self.reference
        parts = []
        for polarity, sign in ((0, -1), (1, 1)):
            theta = self.thresholds[polarity]
            count = np.floor(np.maximum(sign * change, 0) / theta).astype(np.int64)
            self.reference += sign * count * theta
            parts.append(self._spread(count, polarity, start, stop))
        noise = self.rng.poisson(self.noise_rate * (stop - start) * 1e-6, picture.shape)
        parts.append(self._spread(noise, self.rng.integers(0, 2, int(noise.sum())), start, stop))
        events = np.concatenate(parts)
        return events[np.argsort(events['t'], kind='stable')]

    def _spread(
        self, count: np.ndarray, polarity: int | np.ndarray, start: int, stop: int
    ) -> np.ndarray:
        rows, columns = np.nonzero(count)
        times = count[rows, columns]
        order = np.arange(times.sum()) - np.repeat(
            np.cumsum(times) - times, times
        )  # 0, 1, .. per pixel
        events = np.zeros(len(order), EVENT)
        events['x'], events['y'] = np.repeat(columns, times), np.repeat(rows, times)
        part = (order + 0.5) / np.repeat(times, times)
        # pixels do not emit at the same times: shift each by a random part of its interval
        part += self.rng.uniform(-0.5, 0.5, len(order)) / np.repeat(times, times)
        events['t'] = start + np.minimum((part * (stop - start)).astype(np.int64), stop - start - 1)
        events['p'] = polarity
        return events
