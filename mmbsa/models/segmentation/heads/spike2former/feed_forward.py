"""The MLP in the encoder and decoder layers of Spike2Former."""

from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.segmentation.heads.spike2former.official import (
    misread_map,
    misread_tokens,
    reread_tokens,
)


class FeedForward(nn.Module):
    """MLP: two units of neuron -> 1x1 conv with bias -> norm.

    Args:
        channels: C, channels of input and output.
        hidden_channels: channels between the units.
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        misread: a mistake of the official code: with ``'map'`` the memory of the result is read in
            the wrong order; with ``'tokens'`` that of the input, and the result is put back into
            the right order. None (default) reads both correctly.
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
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W)."""
        x = self.reduce(self.expand(misread_tokens(x) if self.misread == 'tokens' else x))
        if self.misread is None:
            return x
        return misread_map(x) if self.misread == 'map' else reread_tokens(x)
