"""Classification head of point models."""

from collections.abc import Sequence

from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv, TimeReadout
from mmbsa.models.neurons import bind_steps
from mmbsa.models.points.spiking_point_transformer import NEURON
from mmbsa.registry import MODELS


@MODELS.register_module()
class PointClsHead(ClsHead):
    """Classification head: mean over points, units of neuron -> linear -> norm (the last one
    without norm), readout.

    Losses and predictions are those of mmpretrain's heads.

    Args:
        num_classes: L, number of classes.
        in_channels: C, channels of the last map; default 512.
        hidden_channels: output channels of all units but the last; default (256, 64).
        neuron: config of the neurons; None (default) is the LIF neuron of Spiking Point
            Transformer.
        norm_cfg: config of the norms; None (default) is batch norm.
        readout: mode of the readout, see :class:`mmbsa.models.layers.TimeReadout`; default
            ``'mean'``.
        loss: config of the loss; None (default) is cross entropy.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        kwargs: arguments of ``mmpretrain.models.ClsHead``: ``topk``, ``cal_acc``, ``init_cfg``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        hidden_channels: Sequence[int] = (256, 64),
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        readout: str | dict = 'mean',
        loss: dict | None = None,
        num_steps: int | None = None,
        **kwargs,
    ):
        super().__init__(loss=loss or dict(type='mmpretrain.CrossEntropyLoss'), **kwargs)
        self.num_classes, self.in_channels = num_classes, in_channels
        neuron, norm_cfg = bind_steps(neuron or NEURON, num_steps), norm_cfg or dict(type='BN')
        widths = [in_channels, *hidden_channels]
        self.hidden = nn.Sequential(
            *(
                SpikeConv(few, many, bias=True, neuron=neuron, norm_cfg=norm_cfg)
                for few, many in zip(widths, widths[1:])
            )
        )
        self.fc = SpikeConv(widths[-1], num_classes, bias=True, neuron=neuron)
        self.time = TimeReadout(**(dict(mode=readout) if isinstance(readout, str) else readout))

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the input of the last unit in every step, (T, B, C', 1, 1), for maps (T, B, C_i,
        N_i, 1)."""
        return self.hidden(feats[-1].mean(3, keepdim=True))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the logits (B, L) of the last map; ``feats`` are maps (T, B, C_i, N_i, 1)."""
        return self.time(self.fc(self.pre_logits(feats)).flatten(2))
