"""The MLP of Spike2Former's encoder and decoder layers."""

from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.segmentation.heads.spike2former.official import (
    misread_map,
    misread_tokens,
    reread_tokens,
)


class FeedForward(nn.Module):
    """Two units of neuron -> 1x1 conv with bias -> norm.

    Args:
        channels: C of input and output.
        hidden_channels: between the units.
        neuron: neuron config.
        norm_cfg: norm config.
        misread: quirk of the official code: ``'map'`` reads the result in the wrong order,
            ``'tokens'`` the input, and the result back; None does neither.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        neuron: dict | None,
        norm_cfg: dict | None,
        misread: str | None = None,
    ):
        super().__init__()
        self.expand = SpikeConv(
            channels, hidden_channels, 1, bias=True, neuron=neuron, norm_cfg=norm_cfg
        )
        self.reduce = SpikeConv(
            hidden_channels, channels, 1, bias=True, neuron=neuron, norm_cfg=norm_cfg
        )
        self.misread = misread

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T, B, C, H, W)."""
        x = self.reduce(self.expand(misread_tokens(x) if self.misread == 'tokens' else x))
        if self.misread is None:
            return x
        return misread_map(x) if self.misread == 'map' else reread_tokens(x)
