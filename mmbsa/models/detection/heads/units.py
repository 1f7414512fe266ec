"""Common parts of the spiking heads: a layer that runs over all time steps."""

from collections.abc import Callable, Sequence

from torch import Tensor

from mmbsa.models.layers import TIME_MODES, merge_time

#: neuron of the official heads: counts 0 .. 4 that are not divided by 4.
COUNTS = dict(type='mmbsa.IntegerNode', levels=4, norm=1)


def each_step(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer of (N, *) to all steps of ``x`` (T, N, *) at once; N may be 0 if an image has
    no RoI."""
    out = layer(merge_time(x))
    return out.unflatten(0, x.shape[:2]) if len(x) > 1 else out.unsqueeze(0)


def mean_over_steps(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean over T of each tensor in ``maps``: (T, *) gives (*)."""
    return [TIME_MODES['mean'](x) for x in maps]
