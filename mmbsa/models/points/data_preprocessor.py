"""Data preprocessor of point clouds: from lists of clouds to batches."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmbsa.registry import MODELS


@MODELS.register_module()
class PointDataPreprocessor(BaseDataPreprocessor):
    """Stack clouds (P, d) of P points with d channels to (B, P, d) float32 on the device of the
    model.

    Args:
        batch_augments: must be None. ``mmpretrain.ImageClassifier`` passes its ``train_cfg`` as
            this argument, and Mixup and CutMix would mix coordinates.
        non_blocking: whether the copy to the device is asynchronous; default False.

    Raises:
        ValueError: ``batch_augments`` is not None, clouds have different sizes, or tensors are not
            clouds.
    """

    def __init__(self, batch_augments: dict | None = None, non_blocking: bool = False):
        super().__init__(non_blocking)
        if batch_augments:
            raise ValueError(
                'PointDataPreprocessor: batch augmentations mix images, not clouds; remove '
                'model.train_cfg and data_preprocessor.batch_augments'
            )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack the clouds of a batch.

        Args:
            data: dict with ``inputs``, a list of clouds (P, d), and ``data_samples``.
            training: accepted and not used.

        Returns:
            A dict with ``inputs`` (B, P, d) and ``data_samples``.
        """
        data = self.cast_data(data)
        inputs = data['inputs']
        if not isinstance(inputs, Tensor):
            shapes = sorted({tuple(cloud.shape) for cloud in inputs})
            if len(shapes) > 1:
                raise ValueError(
                    f'clouds of one batch have different shapes: {shapes[:4]}; set num_points of '
                    'mmbsa.SamplePoints in the pipeline'
                )
            inputs = torch.stack(list(inputs))
        if inputs.ndim != 3:
            raise ValueError(
                f'PointDataPreprocessor batches clouds (P, d), got {tuple(inputs.shape[1:])}; does '
                'the pipeline end with mmbsa.PackPoints?'
            )
        return dict(data, inputs=inputs.float(), data_samples=data.get('data_samples'))
