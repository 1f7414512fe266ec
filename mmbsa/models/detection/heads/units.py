"""What the spiking heads share: a layer of maps run over all steps."""

from collections.abc import Callable, Sequence

from torch import Tensor

from mmbsa.models.layers import TIME_MODES, merge_time

#: the official heads' neuron: counts 0 .. 4 that are not divided by 4.
COUNTS = dict(type='mmbsa.IntegerNode', levels=4, norm=1)


def each_step(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a layer of (N, *) on all steps of (T, N, *) at once; N may be 0, where an image has no
    RoI.
    """
    out = layer(merge_time(x))
    return out.unflatten(0, x.shape[:2]) if len(x) > 1 else out.unsqueeze(0)


def mean_over_steps(maps: Sequence[Tensor]) -> list[Tensor]:
    """(T, *) each -> (*) each."""
    return [TIME_MODES['mean'](x) for x in maps]
