"""mmpretrain's image classifier for spiking backbones, whose head takes its settings from the
backbone."""

from copy import deepcopy

from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.models.classification.head import SpikingClsHead
from mmbsa.models.classification.spiking_classifier import readout_args
from mmbsa.registry import MODELS, resolve_type


@MODELS.register_module()
class SpikingImageClassifier(ImageClassifier):
    """mmpretrain's ``ImageClassifier`` for a spiking backbone and head, with an optional teacher.

    Data preprocessor, batch augmentations, hooks, inferencers and layer-wise learning rates are
    those of mmpretrain. This class adds three things. The head takes settings from the backbone:
    channels, T, neuron, bias and kind of readout; a neuron set in ``model.backbone.neuron`` is also
    the neuron of the readout. A teacher gets the images of the batch. Checkpoints of
    :class:`SpikingClassifier`, which the converters of official weights write, can be loaded.

    Data flow::

        (B,C,H,W) or (B,T,C,H,W) -> backbone -> (T,B,C',H',W') -> head -> logits (T,B,K) -> (B,K)
              +---> teacher (training only) ----------------------------------> (B,K) -+--> loss

    Args:
        backbone: config of a spiking backbone of mmbsa.
        head: config of :class:`SpikingClsHead`, or of any head that accepts time-major maps;
            default None.
        teacher: config of :class:`TimmTeacher`; None (default) means no teacher.
        kwargs: arguments of ``ImageClassifier``: ``train_cfg`` (batch augmentations),
            ``data_preprocessor``, ``init_cfg``, ...
    """

    def __init__(
        self, backbone: dict, head: dict | None = None, teacher: dict | None = None, **kwargs
    ):
        backbone = MODELS.build(deepcopy(backbone))
        if isinstance(head, dict):
            head = self._complete(backbone, deepcopy(dict(head)))
            head = MODELS.build(head)
        super().__init__(backbone=backbone, head=head, **deepcopy(kwargs))
        self.teacher = None if teacher is None else MODELS.build(deepcopy(teacher))
        self._register_load_state_dict_pre_hook(self._adopt)

    @staticmethod
    def _adopt(state: dict, prefix: str, *args) -> None:
        """Rename the keys of the readout in checkpoints of :class:`SpikingClassifier`, where it is
        not in a head."""
        if f'{prefix}head.weight' not in state:
            return
        for key in [key for key in state if key.startswith(prefix)]:
            name = key.removeprefix(prefix)
            if name in ('head.weight', 'head.bias') or name.startswith(
                ('neuron.', 'distill_head.', 'full_size.')
            ):
                state[f'{prefix}head.{name}'] = state.pop(key)

    @staticmethod
    def _complete(backbone: BaseSpikingBackbone, head: dict) -> dict:
        """Return the head's config with the settings of the backbone; keys that it already has
        stay."""
        if not issubclass(resolve_type(head, nn.Module, 'model.head', MODELS), SpikingClsHead):
            return head
        own = {
            key: head.pop(key) for key in ('neuron', 'head_bias', 'distill_neuron') if key in head
        }
        return {**readout_args(backbone, **own), 'num_steps': backbone.num_steps, **head}

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Return a dict of losses; with a teacher the weighted ``loss_label`` and ``loss_distill``.

        Args:
            inputs: images (B, C, H, W), or event frames (B, T, C, H, W).
            data_samples: samples with labels.

        Raises:
            ValueError: the head has a distillation layer, and there is no teacher.
        """
        feats = self.extract_feat(inputs)
        if self.teacher is None:
            if (
                getattr(self.head, 'distill_head', None) is not None
            ):  # predictions would include the untrained layer
                raise ValueError(
                    'model.head.distill=True adds a linear layer that only a teacher trains: set '
                    'model.teacher, or model.head.distill=False'
                )
            return self.head.loss(feats, data_samples)
        steps, logits, distilled = self.head.logits(feats)
        losses = self.head.losses(steps, logits, data_samples)
        losses['loss_label'] = (1 - self.teacher.alpha) * losses.pop('loss')
        taught = self.teacher.logits(inputs, self.data_preprocessor)
        losses['loss_distill'] = self.teacher.alpha * self.teacher.loss(distilled, taught)
        return losses
