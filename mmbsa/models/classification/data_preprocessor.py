"""From lists of event frames to batches."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.logging import MMLogger
from mmpretrain.models.utils.data_preprocessor import ClsDataPreprocessor
from torch import Tensor

from mmbsa.models.classification.event_mixing import MaskMix
from mmbsa.registry import MODELS
from mmbsa.utils.types import is_ours, type_name

NORMALIZATIONS = (None, 'max', 'log')


@MODELS.register_module()
class EventDataPreprocessor(ClsDataPreprocessor):
    """Batch frames (T, P, H, W) of several recordings as (B, T, P, H, W) floats.

    Shorter recordings are filled up with empty frames at the end, smaller ones with empty pixels at
    the right and at the bottom. Labels and batch augmentations are handled as by mmpretrain's
    ``ClsDataPreprocessor``; of its augmentations ``Mixup`` works on frames, and ``mmbsa.EventMix``
    and ``mmbsa.EventCutMix`` stand in for those that cut.

    Args:
        normalize: None keeps the counts; ``'max'`` divides each recording by its largest count;
            ``'log'`` takes log(1 + count).
        add_sum: Append a channel with the sum of the polarities, P -> P + 1 (SpikingResformer's
            input).
        pad_size_divisor: Height and width are filled up to a multiple of it.
        num_classes: Number of classes, for soft labels.
        to_onehot: Add one-hot scores to the samples; batch augmentations do it anyway.
        batch_augments: ``dict(augments=[...], probs=[...])`` as in mmpretrain.

    Raises:
        ValueError: Another normalisation, an augmentation that cuts along the wrong axes, or inputs
            that are not frames.
    """

    def __init__(
        self,
        normalize: str | None = None,
        add_sum: bool = False,
        pad_size_divisor: int = 1,
        num_classes: int | None = None,
        to_onehot: bool = False,
        batch_augments: dict | None = None,
    ) -> None:
        if normalize not in NORMALIZATIONS:
            raise ValueError(
                f'data_preprocessor.normalize must be one of {NORMALIZATIONS}, got {normalize!r}'
            )
        super().__init__(
            pad_size_divisor=pad_size_divisor,
            num_classes=num_classes,
            to_onehot=to_onehot,
            batch_augments=self._build_augments(batch_augments),
        )
        self.normalize, self.add_sum = normalize, add_sum
        self._told = False

    @staticmethod
    def _build_augments(cfg: dict | None) -> dict | None:
        if not cfg:
            return None
        cfg = deepcopy(dict(cfg))
        augments = (
            cfg['augments'] if isinstance(cfg['augments'], list | tuple) else [cfg['augments']]
        )
        for index, augment in enumerate(augments := list(augments)):
            own = (
                isinstance(augment, dict)
                and isinstance(augment['type'], type)
                and issubclass(augment['type'], MaskMix)
            )
            if own or isinstance(augment, dict) and is_ours(augment):
                augments[index] = MODELS.build(augment)
            elif isinstance(augment, dict) and type_name(augment) != 'Mixup':
                raise ValueError(
                    f'data_preprocessor.batch_augments: {type_name(augment)} cuts pictures and '
                    'would '
                    'cut frames along channels and rows; take Mixup, mmbsa.EventMix or '
                    'mmbsa.EventCutMix'
                )
        return dict(cfg, augments=augments)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Batch the frames of ``data['inputs']``; see the class."""
        inputs = self.cast_data(data['inputs'])
        inputs = self._stack(
            [inputs] if isinstance(inputs, Tensor) and inputs.ndim == 4 else inputs
        )
        if self.normalize == 'max':
            inputs = inputs / inputs.amax((1, 2, 3, 4), keepdim=True).clamp(min=1)
        elif self.normalize == 'log':
            inputs = inputs.log1p()
        if self.add_sum:
            inputs = torch.cat([inputs, inputs.sum(2, keepdim=True)], 2)
        return super().forward(dict(data, inputs=inputs), training)

    def _stack(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        for one in inputs:
            if one.ndim != 4:
                raise ValueError(
                    'mmbsa.EventDataPreprocessor batches frames (T, P, H, W), got a sample of '
                    'shape '
                    f'{tuple(one.shape)}; does the pipeline end with LoadEventFrames and '
                    'PackInputs?'
                )
        if isinstance(inputs, Tensor):
            return inputs.float()
        shape = [max(one.shape[axis] for one in inputs) for axis in range(4)]
        if any(one.shape[1] != shape[1] for one in inputs):
            raise ValueError(
                f'samples of one batch have {sorted({one.shape[1] for one in inputs})} channels'
            )
        if not self._told and any(list(one.shape) != shape for one in inputs):
            self._told = True
            MMLogger.get_current_instance().info(
                'recordings differ in their shapes (T, P, H, W); shorter and smaller ones '
                'are filled up with zeros'
            )
        batch = inputs[0].new_zeros((len(inputs), *shape), dtype=torch.float32)
        for place, one in zip(batch, inputs):
            place[tuple(slice(length) for length in one.shape)] = one
        return batch
