"""Counting a model that somebody else runs: a runner's validation, or a tool's loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from mmbsa.energy.counter import OpCounter
from mmbsa.energy.report import Report, report_of


class Watcher:
    """Counts forwards of a model within :meth:`batch`; what runs before and after its forward is
    not counted.

    Args:
        model: the model itself, without wrappers for distributed training.
        options: of :class:`OpCounter`.

    Raises:
        ValueError: the model was compiled.
    """

    def __init__(self, model: nn.Module, **options: Any):
        self.model, self.counter, self.images = model, OpCounter(model, **options), 0

    @contextmanager
    def batch(self, images: int) -> Iterator[None]:
        """Count the forwards of a batch of so many samples."""
        self.start(images)
        try:
            yield
        finally:
            self.stop()

    def start(self, images: int) -> None:
        """Look from now on."""
        self.stop()
        self.counter.images = images
        self._ran = False
        self._handles = [
            self.model.register_forward_pre_hook(self._enter, with_kwargs=True),
            self.model.register_forward_hook(self._leave, always_call=True),
        ]

    def stop(self) -> None:
        """Look away; the batch counts if its forward ran."""
        for handle in getattr(self, '_handles', ()):
            handle.remove()
        self._handles = []
        if getattr(self, '_ran', False):
            self.images += self.counter.images
            self._ran = False

    def _enter(self, module: nn.Module, inputs: tuple, kwargs: dict) -> None:
        self.counter.__enter__()
        self.counter.mark([inputs, kwargs])
        self._ran = True

    def _leave(self, module: nn.Module, inputs: tuple, out: Any) -> None:
        self.counter.__exit__(None, None, None)

    @property
    def report(self) -> Report:
        """What was counted so far."""
        return report_of(self.counter, self.images)
