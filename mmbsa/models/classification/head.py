"""The head of mmpretrain's classifiers for spiking backbones."""

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
    """pool -> neuron -> linear in every step -> time read out; losses and predictions as
    mmpretrain's heads give them.

    Prediction and loss read the same logits. A loss with ``per_step = True`` (:class:`TETLoss`)
    gets those of every step, (T, B, K); any other gets (B, K).

    Inside :class:`SpikingImageClassifier` the arguments ``in_channels``, ``num_steps`` and the
    family's readout come from the backbone. Inside mmpretrain's own ``ImageClassifier``, which
    shows the head no backbone, they have to be given.

    Args:
        num_classes: K.
        in_channels: C of the last map.
        neuron: config of the neuron between pooling and linear layer, None for a real-valued
            readout; ``'family'`` is the backbone's.
        head_bias, distill_neuron: see :class:`SpikingReadout`; None is the family's choice.
        distill: a second linear layer for distillation, see :class:`SpikingReadout`.
        readout: how time is read out: ``'mean'``, ``'sum'``, ``'max'``, ``'last'``, ``'membrane'``,
            or ``dict(mode='membrane', tau=2.0)``, see :class:`TimeReadout`.
        loss: config of the loss; None is cross entropy.
        drop_rate: dropout in front of the linear layer.
        topk, cal_acc: accuracy of the training batches, as in mmpretrain.
        num_steps: T, for neurons whose parameters depend on it; None takes any T.
        init_cfg: OpenMMLab's.
        full_size: see :class:`SpikingReadout`; inside :class:`SpikingImageClassifier` the family's.

    Raises:
        ValueError: the family's readout is asked for and there is no backbone to ask.
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
                'SpikingClsHead does not know its backbone here: use '
                "model.type='mmbsa.SpikingImageClassifier', or give model.head.in_channels and "
                'neuron '
                '(None for a real-valued readout)'
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
        """Maps (T, B, C_i, H_i, W_i) -> what the linear layer reads, without time (B, C)."""
        return self.time(self.read_steps(feats[-1], drop=False)[0])

    def logits(self, feats: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps -> logits of every step (T, B, K), logits (B, K), and logits for the teacher (B, K).

        Without a head for distillation the last two are the same.
        """
        check_steps(feats[-1], self.num_steps, 'head.num_steps')
        steps, distilled = self.step_logits(feats[-1])
        read = self.time(steps)
        return steps, read, read if distilled is None else self.time(distilled)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Maps (T, B, C_i, H_i, W_i) -> logits (B, K) as predictions use them: the mean of both
        heads when distilling."""
        _, logits, distilled = self.logits(feats)
        return logits if self.distill_head is None else (logits + distilled) / 2

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Maps and samples with ``gt_label``, or ``gt_score`` after Mixup and CutMix -> dict with
        ``loss``."""
        return self.losses(*self.logits(feats)[:2], data_samples, **kwargs)

    def losses(
        self, steps: Tensor, logits: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Logits of every step (T, B, K) and without time (B, K) -> dict with ``loss``, and
        accuracies if asked for."""
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
                    'model.head.cal_acc: mixed labels (Mixup, CutMix) have no accuracy; set it to '
                    'False'
                )
            scores = Accuracy.calculate(logits, target, topk=self.topk)
            losses.update({f'accuracy_top-{k}': score for k, score in zip(self.topk, scores)})
        return losses

    def predict(
        self, feats: Sequence[Tensor], data_samples: list[DataSample | None] | None = None
    ) -> list[DataSample]:
        """Maps -> samples with ``pred_score`` (K,) and ``pred_label`` (1,)."""
        scores = self(feats).softmax(1)
        samples = data_samples or [None] * len(scores)
        return [
            (DataSample() if sample is None else sample).set_pred_score(score).set_pred_label(label)
            for sample, score, label in zip(samples, scores, scores.argmax(1, keepdim=True))
        ]
