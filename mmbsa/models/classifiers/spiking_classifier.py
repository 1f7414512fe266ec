"""Image or event classifier: a spiking backbone, its family's readout, logits."""
from copy import deepcopy

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikingClassifier(BaseModule):
    """backbone -> last map -> mean over positions -> neuron -> linear -> mean over T.

    Args:
        backbone: config of a backbone of ours; its last map is read.
        num_classes: K.
        neuron: config of the neuron between pooling and linear layer, or None for a real-valued readout. E-SpikeFormer
            fires integers 0..D that are not divided by D: ``dict(type='mmbsa.IntegerNode', levels=4, norm=1)``.
        head_bias: whether the linear layer has a bias.
        distill: add a second linear layer for distillation by a teacher (Meta-SpikeFormer, E-SpikeFormer large). In
            training its logits are returned beside the others; in evaluation both are averaged.
        real_head: the classification head reads the potentials, and only the one for distillation reads the neuron's
            spikes (E-SpikeFormer large).
        per_step: return the logits of every step (T, B, K) instead of their mean.
        init_cfg: OpenMMLab's.
    """

    def __init__(self, backbone: dict, num_classes: int, neuron: dict | None = None, head_bias: bool = True,
                 distill: bool = False, real_head: bool = False, per_step: bool = False, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(deepcopy(backbone))
        self.neuron = build_neuron(neuron, self.backbone.num_steps)
        self.head = self._linear(num_classes, head_bias)
        self.distill_head = self._linear(num_classes, head_bias) if distill else None
        self.real_head = real_head
        self.per_step = per_step

    def _linear(self, num_classes: int, bias: bool) -> nn.Linear:
        linear = nn.Linear(self.backbone.out_channels[-1], num_classes, bias=bias)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        if bias:
            nn.init.zeros_(linear.bias)
        return linear

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, C, H, W) or (B, T, C, H, W) -> logits (B, K), or (T, B, K) per step; two of them when distilling."""
        features = self.backbone(x)[-1].flatten(3).mean(3)  # (T, B, C)
        spikes = features if self.real_head and self.distill_head is None else self.neuron(features)
        logits = self._read_time(self.head(features if self.real_head else spikes))
        if self.distill_head is None:
            return logits
        distilled = self._read_time(self.distill_head(spikes))
        return (logits, distilled) if self.training else (logits + distilled) / 2

    def _read_time(self, logits: Tensor) -> Tensor:
        return logits if self.per_step else logits.mean(0)


@MODELS.register_module()
class SpikingFeatures(BaseModule):
    """A spiking backbone whose maps leave without their time axis, as official dense backbones return them.

    Args:
        backbone: config of a backbone of ours.
        readout: config of the neck that reads time out.
        init_cfg: OpenMMLab's.
    """

    def __init__(self, backbone: dict, readout: dict | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(deepcopy(backbone))
        self.readout = MODELS.build(deepcopy(readout or dict(type='mmbsa.TemporalReadout')))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> one (B, C_i, H_i, W_i) per out index of the backbone."""
        return self.readout(self.backbone(x))
