"""Data preprocessor of event classification: from lists of event frames to batches."""

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
    """Batch event frames (T, P, H, W) of several recordings as a float tensor (B, T, P, H, W).

    T is the number of frames, P the number of channels (polarities). Shorter recordings are padded
    with empty frames at the end, smaller ones with empty pixels at the right and at the bottom.
    Labels and batch augmentations are handled as in mmpretrain's ``ClsDataPreprocessor``. Of its
    augmentations ``Mixup`` supports frames; ``mmbsa.EventMix`` and ``mmbsa.EventCutMix`` replace
    those that cut images.

    Args:
        normalize: None (default) keeps the counts; ``'max'`` divides each recording by its largest
            count; ``'log'`` computes log(1 + count).
        add_sum: whether to append a channel with the sum of the polarities, P -> P + 1 (the input
            of SpikingResformer); default False.
        pad_size_divisor: height and width are padded to a multiple of this number of pixels;
            default 1.
        num_classes: number of classes, for soft labels; default None.
        to_onehot: whether to add one-hot scores to the samples (batch augmentations always do);
            default False.
        batch_augments: ``dict(augments=[...], probs=[...])`` as in mmpretrain; None (default) means
            none.

    Raises:
        ValueError: ``normalize`` is unknown, an augmentation cuts along the wrong axes, or inputs
            are not frames.
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
                    f'data_preprocessor.batch_augments: {type_name(augment)} cuts images and '
                    'would '
                    'cut frames along channels and rows; use Mixup, mmbsa.EventMix or '
                    'mmbsa.EventCutMix'
                )
        return dict(cfg, augments=augments)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Batch the frames of ``data['inputs']``.

        Args:
            data: dict with ``inputs``, a list of frames (T, P, H, W), and ``data_samples``.
            training: whether batch augmentations are applied; default False.

        Returns:
            A dict with ``inputs`` (B, T, P, H, W) float, and ``data_samples``.
        """
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
                'samples of one batch must have the same number of channels, got '
                f'{sorted({one.shape[1] for one in inputs})}'
            )
        if not self._told and any(list(one.shape) != shape for one in inputs):
            self._told = True
            MMLogger.get_current_instance().info(
                'recordings differ in their shapes (T, P, H, W); shorter and smaller ones '
                'are padded with zeros'
            )
        batch = inputs[0].new_zeros((len(inputs), *shape), dtype=torch.float32)
        for place, one in zip(batch, inputs):
            place[tuple(slice(length) for length in one.shape)] = one
        return batch
