"""Counting of a model within a loop of other code, such as a runner's validation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from mmbsa.energy.counter import OpCounter, batch_of
from mmbsa.energy.report import Report, report_of


def samples_of(data: Any) -> tuple[int, int]:
    """Return how many samples a batch of a data loader holds, and how many of them run at once.

    The batch of a tracker holds sequences. Its samples are the searched frames: all frames of each
    sequence but the first one. One frame of every sequence runs at once.
    """
    inputs = data.get('inputs', data) if isinstance(data, dict) else data
    if isinstance(inputs, dict) and 'frames' in inputs:
        sequences = inputs['frames']
        return sum(max(1, len(frames) - 1) for frames in sequences), len(sequences)
    count = len(inputs) if isinstance(inputs, list | tuple) else batch_of([inputs])
    return count, count


class Watcher:
    """Count the forwards of a model within :meth:`batch`.

    Work before and after the model's forward is not counted.

    Args:
        model: the model itself, without wrappers for distributed training.
        options: arguments of :class:`OpCounter`.

    Raises:
        ValueError: the model was compiled.
    """

    def __init__(self, model: nn.Module, **options: Any):
        self.model, self.counter, self.images = model, OpCounter(model, **options), 0

    @contextmanager
    def batch(self, data: Any) -> Iterator[None]:
        """Context that counts the forwards of one batch, see :func:`samples_of`."""
        self.start(data)
        try:
            yield
        finally:
            self.stop()

    def start(self, data: Any) -> None:
        """Start to count; ``data`` is a batch of a data loader."""
        self.stop()
        self._samples, self.counter.images = samples_of(data)
        self._ran = False
        self._handles = [
            self.model.register_forward_pre_hook(self._enter, with_kwargs=True),
            self.model.register_forward_hook(self._leave, always_call=True),
        ]

    def stop(self) -> None:
        """Stop to count; the batch is included if its forward ran."""
        for handle in getattr(self, '_handles', ()):
            handle.remove()
        self._handles = []
        if getattr(self, '_ran', False):
            self.images += self._samples
            self._ran = False

    def _enter(self, module: nn.Module, inputs: tuple, kwargs: dict) -> None:
        self.counter.__enter__()
        self.counter.mark([inputs, kwargs])
        self._ran = True

    def _leave(self, module: nn.Module, inputs: tuple, out: Any) -> None:
        self.counter.__exit__(None, None, None)

    @property
    def report(self) -> Report:
        """Return the counts so far."""
        return report_of(self.counter, self.images)
