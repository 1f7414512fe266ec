"""Image or event classifier: a spiking backbone, its family's readout, logits."""

from copy import deepcopy

from torch import Tensor

from mmbsa.models.layers import SpikingReadout
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS


def readout_args(
    backbone,
    neuron: dict | str | None = 'family',
    head_bias: bool | None = None,
    distill_neuron: bool | None = None,
) -> dict:
    """Arguments of :class:`SpikingReadout` that follow from the backbone, where the others do not
    say otherwise.

    Args:
        backbone: a backbone of ours.
        neuron: ``'family'``, config of the neuron between pooling and linear layer, or None for a
            real-valued readout.
        head_bias, distill_neuron: None is the family's choice.

    Raises:
        ValueError: ``neuron`` is a string other than ``'family'``.
    """
    family = backbone.published_head()
    if isinstance(neuron, str):
        if neuron != 'family':
            raise ValueError(f"neuron must be 'family', a neuron config or None, got {neuron!r}")
        neuron = family['neuron']
    return dict(
        in_channels=backbone.out_channels[-1],
        neuron=bind_steps(neuron, backbone.num_steps),
        full_size=family.get('full_size'),
        head_bias=family['head_bias'] if head_bias is None else head_bias,
        distill_neuron=family['distill_neuron'] if distill_neuron is None else distill_neuron,
    )


@MODELS.register_module()
class SpikingClassifier(SpikingReadout):
    """backbone -> last map -> mean over positions -> neuron -> linear -> mean over T.

    How a family's published classifiers read the last map out is told by its backbone
    (``backbone.published_head()``); the arguments ``neuron``, ``head_bias`` and ``distill_neuron``
    say otherwise.

    Args:
        backbone: config of a backbone of ours; its last map is read.
            ``Family.classifier_cfg(arch, num_classes)`` is the config of a published classifier as
            a whole.
        num_classes: K; 0 leaves out the linear layer.
        neuron: ``'family'``, config of the neuron between pooling and linear layer, or None for a
            real-valued readout.
        head_bias: whether the linear layer has a bias; None is the family's choice.
        distill: add a second linear layer for distillation, see :class:`SpikingReadout`.
        distill_neuron: see :class:`SpikingReadout`; None is the family's choice.
        per_step: return the logits of every step (T, B, K) instead of their mean.
        readout: how time is read out, see :class:`TimeReadout`.
        drop_rate: dropout of features in front of the linear layer, the same features in all steps.
        init_cfg: OpenMMLab's.

    Raises:
        ValueError: ``neuron`` is a string other than ``'family'``, or an unknown ``readout``.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        neuron: dict | str | None = 'family',
        head_bias: bool | None = None,
        distill: bool = False,
        distill_neuron: bool | None = None,
        per_step: bool = False,
        readout: str | dict = 'mean',
        drop_rate: float = 0.0,
        init_cfg: dict | None = None,
    ):
        backbone = MODELS.build(deepcopy(backbone))
        if backbone.readout is not None:
            raise ValueError(
                f'backbone.readout={backbone.readout!r}: the classifier reads time out itself, '
                'after its '
                'neuron; leave backbone.readout out'
            )
        super().__init__(
            num_classes=num_classes,
            distill=distill,
            time=readout,
            drop_rate=drop_rate,
            init_cfg=init_cfg,
            **readout_args(backbone, neuron, head_bias, distill_neuron),
        )
        self.backbone = backbone
        self.per_step = per_step

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, T, C, H, W) -> last map (T, B, C', H', W')."""
        return self.backbone(x)[-1]

    def forward_head(
        self, maps: Tensor, pre_logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Last map (T, B, C', H', W') -> what :meth:`forward` returns; with ``pre_logits`` what the
        head reads (B, C')."""
        if pre_logits:
            return self.time(self.read_steps(maps, drop=False)[0])
        logits, distilled = (
            x if x is None or self.per_step else self.time(x) for x in self.step_logits(maps)
        )
        if distilled is None:
            return logits
        return (logits, distilled) if self.training else (logits + distilled) / 2

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, C, H, W) or (B, T, C, H, W) -> logits (B, K), or (T, B, K) per step; two of them when
        distilling."""
        return self.forward_head(self.forward_features(x))
