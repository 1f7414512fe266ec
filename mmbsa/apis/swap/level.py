"""The words that every stage of the swap uses."""

from dataclasses import dataclass


class SwapError(ValueError):
    """A config cannot be swapped; the message names the part and the reason."""


@dataclass(frozen=True)
class Level:
    """One feature map of a backbone.

    Attributes:
        channels: its channels.
        stride: image pixels per map pixel.
        coarsest: the largest stride that anything on its way through the network had; larger than
            ``stride`` for a map that was decoded from coarser ones. 0 where unknown.
        depth: convolutions and matrix products on the longest way to it.
    """

    channels: int
    stride: int
    coarsest: int = 0
    depth: int = 0

    @property
    def decoded(self) -> bool:
        """Whether information came back from a coarser map."""
        return self.coarsest > self.stride
