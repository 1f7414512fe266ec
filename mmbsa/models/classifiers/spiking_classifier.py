"""Image or event classifier: a spiking backbone, its family's readout, logits."""
from copy import deepcopy

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikingClassifier(BaseModule):
    """backbone -> last map -> mean over positions -> neuron -> linear -> mean over T.

    How a family's published classifiers read the last map out is told by its backbone (``backbone.readout()``); the
    arguments ``neuron``, ``head_bias`` and ``real_head`` say otherwise.

    Args:
        backbone: config of a backbone of ours; its last map is read. ``Family.classifier_cfg(arch, num_classes)`` is the
            config of a published classifier as a whole.
        num_classes: K; 0 leaves out the linear layer.
        neuron: ``'family'``, config of the neuron between pooling and linear layer, or None for a real-valued readout.
        head_bias: whether the linear layer has a bias; None is the family's choice.
        distill: add a second linear layer for distillation by a teacher (Meta-SpikeFormer, E-SpikeFormer large). In
            training its logits are returned beside the others; in evaluation both are averaged.
        real_head: the classification head reads the potentials, and only the one for distillation reads the neuron's
            spikes (E-SpikeFormer large); None is the family's choice.
        per_step: return the logits of every step (T, B, K) instead of their mean.
        drop_rate: dropout of features in front of the linear layer, the same features in all steps.
        init_cfg: OpenMMLab's.

    Raises:
        ValueError: ``neuron`` is a string other than ``'family'``.
    """

    def __init__(self, backbone: dict, num_classes: int, neuron: dict | str | None = 'family',
                 head_bias: bool | None = None, distill: bool = False, real_head: bool | None = None,
                 per_step: bool = False, drop_rate: float = 0.0, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(deepcopy(backbone))
        readout = self.backbone.readout()
        if isinstance(neuron, str):
            if neuron != 'family':
                raise ValueError(f"SpikingClassifier: neuron must be 'family', a neuron config or None, got {neuron!r}")
            neuron = readout['neuron']
        self.head_bias = readout['head_bias'] if head_bias is None else head_bias
        self.real_head = readout['real_head'] if real_head is None else real_head
        # a real-valued head without one for distillation beside it leaves nothing to fire for
        self.neuron = build_neuron(None if self.real_head and not distill else neuron, self.backbone.num_steps)
        self.head = self.build_head(num_classes)
        self.distill_head = self.build_head(num_classes) if distill else None
        self.per_step = per_step
        self.drop_rate = drop_rate

    def build_head(self, num_classes: int) -> nn.Module:
        """A fresh linear layer, or an identity for no classes."""
        if num_classes == 0:
            return nn.Identity()
        linear = nn.Linear(self.backbone.feature_info[-1]['num_chs'], num_classes, bias=self.head_bias)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        if self.head_bias:
            nn.init.zeros_(linear.bias)
        return linear

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, T, C, H, W) -> last map (T, B, C', H', W')."""
        return self.backbone(x)[-1]

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Last map (T, B, C', H', W') -> what :meth:`forward` returns; with ``pre_logits`` what the head reads (B, C')."""
        features = maps.flatten(3).mean(3)  # (T, B, C')
        spikes = self.neuron(features)
        read = features if self.real_head else spikes
        if pre_logits:
            return read.mean(0)
        logits = self._read_time(self.head(self._drop(read)))
        if self.distill_head is None:
            return logits
        distilled = self._read_time(self.distill_head(self._drop(spikes)))
        return (logits, distilled) if self.training else (logits + distilled) / 2

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, C, H, W) or (B, T, C, H, W) -> logits (B, K), or (T, B, K) per step; two of them when distilling."""
        return self.forward_head(self.forward_features(x))

    def _drop(self, features: Tensor) -> Tensor:
        if not self.drop_rate or not self.training:
            return features
        return features * F.dropout(torch.ones_like(features[0]), self.drop_rate)

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
