"""The classification head of spiking backbones in mmpretrain."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmpretrain.evaluation.metrics import Accuracy
from mmpretrain.structures import DataSample
from torch import Tensor

from mmbsa.models.layers import SpikingReadout, check_steps
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikingClsHead(SpikingReadout):
    """Classification head for mmpretrain: pooling, neuron and linear layer in every step, then the
    readout.

    Losses and predictions have the format of mmpretrain's heads and use the same logits. A loss
    with ``per_step = True`` (:class:`TETLoss`) gets the logits of every step, (T, B, K); any other
    loss gets (B, K).

    In a :class:`SpikingImageClassifier` the arguments ``in_channels``, ``num_steps`` and those of
    the family's readout come from the backbone. In mmpretrain's ``ImageClassifier`` the head has no
    access to the backbone, and the config must contain them.

    Args:
        num_classes: K, number of classes.
        in_channels: C, channels of the last map; None (default) is that of the backbone.
        neuron: config of the neuron between pooling and linear layer; ``'family'`` (default) is the
            choice of the backbone; None means a real-valued readout.
        head_bias: whether the linear layer has a bias; None (default) is the choice of the family.
        distill_neuron: whether only the distillation layer gets the neuron's spikes, see
            :class:`SpikingReadout`; None (default) is the choice of the family.
        distill: whether to add a second linear layer for distillation, see :class:`SpikingReadout`;
            default False.
        readout: mode of the readout: ``'mean'`` (default), ``'sum'``, ``'max'``, ``'last'``,
            ``'membrane'``, or ``dict(mode='membrane', tau=2.0)``, see :class:`TimeReadout`.
        loss: config of the loss; None (default) is cross entropy.
        drop_rate: probability of dropout before the linear layer; default 0.
        topk: the k of each top-k accuracy of training batches, as in mmpretrain; default (1,).
        cal_acc: whether to compute the accuracy of training batches; default False.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        init_cfg: initialisation config of OpenMMLab; default None.
        full_size: number of positions and T of a full-size convolution, see
            :class:`SpikingReadout`; in a :class:`SpikingImageClassifier` it comes from the
            backbone. Default None.

    Raises:
        ValueError: ``neuron='family'`` or ``in_channels=None``, and the head has no access to a
            backbone.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int | None = None,
        neuron: dict | str | None = 'family',
        head_bias: bool | None = None,
        distill: bool = False,
        distill_neuron: bool | None = None,
        readout: str | dict = 'mean',
        loss: dict | None = None,
        drop_rate: float = 0.0,
        topk: int | Sequence[int] = (1,),
        cal_acc: bool = False,
        num_steps: int | None = None,
        init_cfg: dict | None = None,
        full_size: tuple[int, int] | None = None,
    ):
        if in_channels is None or isinstance(neuron, str):
            raise ValueError(
                'SpikingClsHead has no access to the backbone here: use '
                "model.type='mmbsa.SpikingImageClassifier', or set model.head.in_channels and "
                'model.head.neuron (None for a real-valued readout)'
            )
        super().__init__(
            in_channels,
            num_classes,
            bind_steps(neuron, num_steps),
            head_bias is not False,
            distill,
            bool(distill_neuron),
            readout,
            drop_rate,
            init_cfg,
            full_size,
        )
        self.num_steps = num_steps
        self.loss_module = MODELS.build(deepcopy(loss or dict(type='mmpretrain.CrossEntropyLoss')))
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        self.cal_acc = cal_acc

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the input of the linear layer without time axis, (B, C).

        Args:
            feats: maps (T, B, C_i, H_i, W_i); the last one is used.
        """
        return self.time(self.read_steps(feats[-1], drop=False)[0])

    def logits(self, feats: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of every step (T, B, K), logits (B, K), and logits for the teacher (B, K).

        Without a distillation layer the last two are the same.

        Args:
            feats: maps (T, B, C_i, H_i, W_i); the last one is used.
        """
        check_steps(feats[-1], self.num_steps, 'head.num_steps')
        steps, distilled = self.step_logits(feats[-1])
        read = self.time(steps)
        return steps, read, read if distilled is None else self.time(distilled)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the logits (B, K) of predictions for maps (T, B, C_i, H_i, W_i); with distillation
        the mean of both layers."""
        _, logits, distilled = self.logits(feats)
        return logits if self.distill_head is None else (logits + distilled) / 2

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Return a dict with ``loss``, and accuracies if ``cal_acc`` is set.

        Args:
            feats: maps (T, B, C_i, H_i, W_i).
            data_samples: samples with ``gt_label``, or ``gt_score`` after Mixup and CutMix.
            kwargs: further arguments of the loss.
        """
        return self.losses(*self.logits(feats)[:2], data_samples, **kwargs)

    def losses(
        self, steps: Tensor, logits: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Return a dict with ``loss``, and accuracies if ``cal_acc`` is set, from logits.

        Args:
            steps: logits of every step (T, B, K).
            logits: logits without time axis (B, K).
            data_samples: samples with ``gt_label`` or ``gt_score``.
            kwargs: further arguments of the loss.

        Raises:
            ValueError: ``cal_acc`` is set and the labels are mixed.
        """
        soft = 'gt_score' in data_samples[0]
        target = (
            torch.stack([sample.gt_score for sample in data_samples])
            if soft
            else torch.cat([sample.gt_label for sample in data_samples])
        )
        read = steps if getattr(self.loss_module, 'per_step', False) else logits
        losses = dict(loss=self.loss_module(read, target, avg_factor=len(target), **kwargs))
        if self.cal_acc:
            if soft:
                raise ValueError(
                    'model.head.cal_acc=True is not supported for mixed labels (Mixup, CutMix); '
                    'set it to False'
                )
            scores = Accuracy.calculate(logits, target, topk=self.topk)
            losses.update({f'accuracy_top-{k}': score for k, score in zip(self.topk, scores)})
        return losses

    def predict(
        self, feats: Sequence[Tensor], data_samples: list[DataSample | None] | None = None
    ) -> list[DataSample]:
        """Return samples with ``pred_score`` (K,) and ``pred_label`` (1,) for maps (T, B, C_i, H_i,
        W_i)."""
        scores = self(feats).softmax(1)
        samples = data_samples or [None] * len(scores)
        return [
            (DataSample() if sample is None else sample).set_pred_score(score).set_pred_label(label)
            for sample, score, label in zip(samples, scores, scores.argmax(1, keepdim=True))
        ]
