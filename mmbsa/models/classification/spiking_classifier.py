"""Classifier of images or events: a spiking backbone, the readout of its family, and a linear
layer."""

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
    """Return the arguments of :class:`SpikingReadout` for a backbone.

    Args:
        backbone: a spiking backbone of mmbsa.
        neuron: config of the neuron between pooling and linear layer; ``'family'`` (default) is the
            choice of the family; None means a real-valued readout.
        head_bias: whether the linear layer has a bias; None (default) is the choice of the family.
        distill_neuron: whether only the distillation layer gets the neuron's spikes; None (default)
            is the choice of the family.

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
    """Classifier: backbone, mean over positions, neuron, linear layer, readout.

    The default head is that of the family's published classifiers (``backbone.published_head()``);
    the arguments ``neuron``, ``head_bias`` and ``distill_neuron`` override it.

    Args:
        backbone: config of a spiking backbone of mmbsa; its last map is used.
            ``Family.classifier_cfg(arch, num_classes)`` returns the whole config of a published
            classifier.
        num_classes: K, number of classes; 0 means no linear layer.
        neuron: config of the neuron between pooling and linear layer; ``'family'`` (default) is the
            choice of the family; None means a real-valued readout.
        head_bias: whether the linear layer has a bias; None (default) is the choice of the family.
        distill: whether to add a second linear layer for distillation, see :class:`SpikingReadout`;
            default False.
        distill_neuron: whether only the distillation layer gets the neuron's spikes, see
            :class:`SpikingReadout`; None (default) is the choice of the family.
        per_step: whether to return the logits of every step (T, B, K) without a readout; default
            False.
        readout: mode of the readout, or a dict with the arguments of :class:`TimeReadout`; default
            ``'mean'``.
        drop_rate: probability of dropout before the linear layer, with the same features in all
            steps; default 0.
        init_cfg: initialisation config of OpenMMLab; default None.

    Raises:
        ValueError: ``neuron`` is a string other than ``'family'``, ``readout`` is unknown, or the
            backbone has a readout.
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
                f'backbone.readout={backbone.readout!r} is not supported, because the classifier '
                'has its own readout after its neuron; remove backbone.readout'
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
        """Return the last map (T, B, C', H', W') of the backbone.

        Args:
            x: images (B, C, H, W), or event frames (B, T, C, H, W).
        """
        return self.backbone(x)[-1]

    def forward_head(
        self, maps: Tensor, pre_logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the result of :meth:`forward` for the last map (T, B, C', H', W').

        Args:
            maps: the last map of the backbone.
            pre_logits: whether to return the input of the linear layer, (B, C'), instead; default
                False.
        """
        if pre_logits:
            return self.time(self.read_steps(maps, drop=False)[0])
        logits, distilled = (
            x if x is None or self.per_step else self.time(x) for x in self.step_logits(maps)
        )
        if distilled is None:
            return logits
        return (logits, distilled) if self.training else (logits + distilled) / 2

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, K), or (T, B, K) with ``per_step``; in training with ``distill`` a pair
        of them.

        Args:
            x: images (B, C, H, W), or event frames (B, T, C, H, W).
        """
        return self.forward_head(self.forward_features(x))
