"""A small classifier for the tests of exported graphs."""

from torch import nn

from mmbsa.models.attentions import build_attention
from mmbsa.models.layers import SpikeConv

BSA = dict(type='mmbsa.BipolarSelfAttention')
LIF = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
    detach_reset=True,
)


class Small(nn.Module):
    """One convolution of each kind of neuron and one bipolar attention, as a classifier of 3
    classes."""

    def __init__(self):
        super().__init__()
        norm = dict(type='BN')
        self.stem = SpikeConv(3, 8, 3, stride=2, norm_cfg=norm)
        self.counts = SpikeConv(
            8, 8, 3, neuron=dict(type='mmbsa.IntegerNode', levels=4), norm_cfg=norm
        )
        self.q = SpikeConv(8, 8, neuron=LIF, norm_cfg=norm)
        self.attention = build_attention(BSA, embed_dims=8, num_heads=2, neuron=LIF)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.counts(self.stem(x.unsqueeze(0).expand(2, *x.shape)))
        x = x + self.attention(self.q(x), x, x)
        return self.head(x.flatten(3).mean(3)).mean(0)
