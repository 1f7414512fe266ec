"""Conversion of pictures to sequences, for sequential (permuted) MNIST and sequential CIFAR."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmbsa.registry import TRANSFORMS

ORDERS = ('pixels', 'rows', 'planes')


@TRANSFORMS.register_module()
class ToSequence(BaseTransform):
    """Read a picture pixel by pixel (Le et al., 2015, arXiv 1504.00941) as a picture of height 1.

    Required key: ``img`` (H, W) or (H, W, C). Changed keys: ``img`` (1, L, C'), which stock packing
    and preprocessing convert to (B, C', 1, L) for convolutions along the sequence; ``img_shape``.

    Args:
        order: ``'pixels'`` (default), row by row: L = H * W, C' = C. ``'rows'``: L = H, C' = W * C.
            ``'planes'``, channel by channel: L = C * H * W, C' = 1.
        permutation_seed: seed of one fixed permutation of the steps, the same on every machine and
            for every sample and split; None (default) keeps their order.

    Raises:
        ValueError: the order is unknown, or ``img`` is not a picture.
    """

    def __init__(self, order: str = 'pixels', permutation_seed: int | None = None) -> None:
        if order not in ORDERS:
            raise ValueError(f'ToSequence: order must be one of {ORDERS}, got {order!r}')
        self.order, self.permutation_seed = order, permutation_seed
        self._permutations: dict[int, np.ndarray] = {}

    def permutation(self, length: int) -> np.ndarray:
        """Return the permutation (length,): output step i is input step ``permutation[i]``."""
        if length not in self._permutations:
            # the legacy generator: numpy guarantees that its numbers do not change
            self._permutations[length] = np.random.RandomState(self.permutation_seed).permutation(
                length
            )
        return self._permutations[length]

    def transform(self, results: dict) -> dict:
        """Replace the picture by its sequence."""
        img = np.asarray(results['img'])
        if img.ndim == 2:
            img = img[..., None]
        if img.ndim != 3:
            raise ValueError(
                f'ToSequence: expected a picture (H, W) or (H, W, C), got the shape {img.shape}'
            )
        height, width, channels = img.shape
        if self.order == 'rows':
            sequence = img.reshape(height, width * channels)
        elif self.order == 'planes':
            sequence = img.transpose(2, 0, 1).reshape(-1, 1)
        else:
            sequence = img.reshape(-1, channels)
        if self.permutation_seed is not None:
            sequence = sequence[self.permutation(len(sequence))]
        results['img'] = np.ascontiguousarray(sequence[None])
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(order={self.order!r}, permutation_seed={self.permutation_seed})'
        )
