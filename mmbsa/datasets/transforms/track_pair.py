"""Pipeline steps of tracking: read a pair, crop it, and pack a pair or a sequence."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmbsa.registry import TRANSFORMS
from mmbsa.structures import (
    TrackDataSample,
    crop_side,
    crop_target,
    hidden_at_stride,
    image_to_crop,
    jitter_box,
)


@TRANSFORMS.register_module()
class LoadTrackPair(BaseTransform):
    """Read the two frames of a pair.

    Changed keys: ``template_frame`` and ``search_frame``, from (frames, index) to arrays
    (T, H, W, 3) uint8.
    """

    def transform(self, results: dict) -> dict:
        """Read both frames."""
        for name in ('template', 'search'):
            frames, index = results[f'{name}_frame']
            results[f'{name}_frame'] = frames[index]
        return results


@TRANSFORMS.register_module()
class CropTrackPair(BaseTransform):
    """Crop template and search frame around jittered boxes.

    The result is None if a crop is empty, or if it contains no part of the frame at the resolution
    of the features; the dataset then draws another pair. Random numbers come from numpy's global
    generator: two normal ones (w, h) and two uniform ones (x, y) for the template, then the same
    for the search frame; the template's are drawn even if its jitter is 0.

    Added keys: ``template`` and ``search``, (T, out, out, 3) uint8; ``template_box`` and
    ``search_box``, (4,) float32 x, y, w, h as shares of the side of the crop.

    Args:
        size: (template, search) side of the crops in pixels, (128, 256) by default.
        factor: (template, search) side of the crop relative to the side of a square with the area
            of the box, (2, 4) by default.
        centre_jitter, scale_jitter: (template, search) jitter of centre and size, see
            :func:`mmbsa.structures.jitter_box`; (0, 3) and (0, 0.25) by default.
        stride: stride of the features in pixels, 16 by default.
        official_quirks: see :func:`mmbsa.structures.crop_target`; False by default.

    Raises:
        ValueError: an argument is not a pair of numbers.
    """

    def __init__(
        self,
        size: Sequence[int] = (128, 256),
        factor: Sequence[float] = (2.0, 4.0),
        centre_jitter: Sequence[float] = (0.0, 3.0),
        scale_jitter: Sequence[float] = (0.0, 0.25),
        stride: int = 16,
        official_quirks: bool = False,
    ):
        for name, value in dict(
            size=size, factor=factor, centre_jitter=centre_jitter, scale_jitter=scale_jitter
        ).items():
            if len(value) != 2:
                raise ValueError(
                    f'CropTrackPair: {name} must be a number for the template and one for the '
                    f'search crop, got {value!r}'
                )
        self.size, self.factor, self.stride = tuple(size), tuple(factor), stride
        self.centre_jitter, self.scale_jitter = tuple(centre_jitter), tuple(scale_jitter)
        self.official_quirks = official_quirks

    def draw(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Draw the random numbers of a pair: (normal, uniform) for template and search frame."""
        return [(np.random.randn(2), np.random.rand(2)) for _ in range(2)]

    def transform(self, results: dict) -> dict | None:
        """Crop both frames, or return None."""
        return self.crop(results, self.draw())

    def crop(self, results: dict, numbers: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict | None:
        """Crop as :meth:`transform` with given random numbers.

        Args:
            results: the sample.
            numbers: (normal, uniform) for template and search frame, from :meth:`draw`.
        """
        for which, name in enumerate(('template', 'search')):
            frames, box = results[f'{name}_frame'], results[f'{name}_box']
            around = jitter_box(
                box, *numbers[which], self.centre_jitter[which], self.scale_jitter[which]
            )
            try:
                crop_side(around, self.factor[which])
            except ValueError:  # a box without area
                return None
            crops = [
                crop_target(
                    frame,
                    around,
                    self.factor[which],
                    self.size[which],
                    official_quirks=self.official_quirks,
                )
                for frame in frames
            ]
            if hidden_at_stride(crops[0].outside, self.stride):
                return None
            results[name] = np.stack([crop.image for crop in crops])
            results[f'{name}_outside'] = crops[0].outside
            results[f'{name}_box'] = image_to_crop(
                box, around, crops[0].resize_factor, self.size[which], normalize=True
            )
        return results


@TRANSFORMS.register_module()
class PackTrackInputs(BaseTransform):
    """Pack a cropped pair or a sequence for the model.

    A pair gives ``inputs=dict(template, search)``, (T, 3, h, w) uint8 tensors, and a data sample
    with ``gt_box``. A sequence gives ``inputs=dict(frames)``, whose frames are read when the
    tracker needs them, and a data sample with ``gt_boxes`` and ``absent``.
    """

    def transform(self, results: dict) -> dict:
        """Pack the sample."""
        sample = TrackDataSample(
            metainfo=dict(
                sequence=results['sequence'], attributes=tuple(results.get('attributes', ()))
            )
        )
        if 'frames' in results:
            sample.gt_boxes = torch.as_tensor(np.asarray(results['gt_boxes'], np.float64))
            sample.absent = torch.as_tensor(np.asarray(results['absent'], bool))
            return dict(inputs=dict(frames=results['frames']), data_samples=sample)
        sample.gt_box = torch.from_numpy(results['search_box'])
        inputs = {
            name: torch.from_numpy(np.ascontiguousarray(results[name].transpose(0, 3, 1, 2)))
            for name in ('template', 'search')
        }
        return dict(inputs=inputs, data_samples=sample)
