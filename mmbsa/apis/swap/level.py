"""Error and feature level of the backbone swap."""

from dataclasses import dataclass


class SwapError(ValueError):
    """Raised if a config cannot be swapped; the message names the module and the reason."""


@dataclass(frozen=True)
class Level:
    """One feature map of a backbone.

    Attributes:
        channels: number of channels.
        stride: image pixels per map pixel.
        coarsest: largest stride on the path through the network; larger than ``stride`` for a map
            that was decoded from coarser maps. 0 if unknown.
        depth: number of convolutions and matrix products on the longest path to the map.
    """

    channels: int
    stride: int
    coarsest: int = 0
    depth: int = 0

    @property
    def decoded(self) -> bool:
        """Whether the map contains information from a coarser map."""
        return self.coarsest > self.stride
