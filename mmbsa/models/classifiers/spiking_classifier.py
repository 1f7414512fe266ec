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
        per_step: return the logits of every step (T, B, K) instead of their mean.
        init_cfg: OpenMMLab's.
    """

    def __init__(self, backbone: dict, num_classes: int, neuron: dict | None = None, per_step: bool = False,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(deepcopy(backbone))
        self.neuron = build_neuron(neuron, self.backbone.num_steps)
        self.head = nn.Linear(self.backbone.out_channels[-1], num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.per_step = per_step

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, T, C, H, W) -> logits (B, K), or (T, B, K) per step."""
        features = self.backbone(x)[-1].flatten(3).mean(3)  # (T, B, C)
        logits = self.head(self.neuron(features))
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
