"""Base class of the tracking datasets: pairs for training, whole sequences for testing."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset

from mmbsa.datasets.tracking.pairs import MIN_FRAMES, can_train, draw_pair, visible_frames
from mmbsa.structures import usable_boxes


class BaseTrackingDataset(BaseDataset):
    """Sequences with a box per frame.

    A subclass lists its sequences in ``load_data_list``: dicts with ``sequence`` (name), ``frames``
    (:class:`mmbsa.structures.FrameSequence`), ``gt_boxes`` (N, 4), ``absent`` (N,), ``attributes``,
    and optionally ``img_shape``, the (height, width) of the frames in pixels, and ``late_start``,
    whether the first box with an area may be in a later row. With ``img_shape``, frames whose box
    is far outside of the picture are not sampled.

    * With ``test_mode=False`` an item is a causal pair: ``template_frame``, ``template_box``,
      ``search_frame``, ``search_box``, ``sequence``. It is drawn from numpy's global generator and
      does not depend on the index.
    * With ``test_mode=True`` item i is sequence i.

    Args:
        samples_per_epoch: number of pairs per epoch; None (default) uses the number of sequences.
        max_gap: largest distance of the search frame from the template, exclusive, in frames; 200
            by default, as in SDTrack.
        pipeline: pipeline steps for each item.
        test_mode: whether items are sequences instead of pairs; False by default.
        kwargs: arguments of mmengine's ``BaseDataset``.

    Raises:
        ValueError: no sequence has more than 4 visible frames and at least 20 frames; or no crop of
            ``max_refetch`` consecutive pairs (200 by default) contains a target.
    """

    def __init__(
        self,
        samples_per_epoch: int | None = None,
        max_gap: int = 200,
        pipeline: Sequence = (),
        test_mode: bool = False,
        **kwargs,
    ):
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f'samples_per_epoch must be positive, got {samples_per_epoch}')
        self.samples_per_epoch, self.max_gap = samples_per_epoch, max_gap
        self._trainable: np.ndarray | None = None
        kwargs.setdefault('max_refetch', 200)
        super().__init__(pipeline=list(pipeline), test_mode=test_mode, **kwargs)

    @abstractmethod
    def load_data_list(self) -> list[dict]:
        """List the sequences."""

    def full_init(self) -> None:
        """Load the annotations and select the sequences that can be used for training.

        Raises:
            ValueError: no sequence can be used for training, or, with ``test_mode``, the first box
                of a sequence has no area or is outside of the picture.
        """
        super().full_init()
        if self._trainable is None:
            infos = [self.get_data_info(index) for index in range(self.num_sequences)]
            for info in infos if self.test_mode else ():
                self._check_first_box(info)
            self._trainable = np.array(
                [index for index, info in enumerate(infos) if can_train(self._visible(info))],
                int,
            )
        if not self.test_mode and not len(self._trainable):
            counts = [
                f'{info["sequence"]} has {self._visible(info).sum()} visible frames of '
                f'{len(info["gt_boxes"])}'
                for info in infos[:3]
            ]
            raise ValueError(
                f'{type(self).__name__}: none of {self.num_sequences} sequences has more than '
                f'4 visible frames (the box has a size and is not far outside of the picture) and '
                f'at least {MIN_FRAMES} frames, which training needs: {", ".join(counts)}'
            )

    @staticmethod
    def _visible(info: dict) -> np.ndarray:
        return visible_frames(info['gt_boxes'], info.get('img_shape'))

    @staticmethod
    def _check_first_box(info: dict) -> None:
        usable = usable_boxes(info['gt_boxes'], info.get('img_shape'))
        first = int(usable.argmax()) if info.get('late_start') else 0
        if not usable[first]:
            raise ValueError(
                f'{info["sequence"]}: the first box {np.asarray(info["gt_boxes"][first]).tolist()} '
                '(x, y, w, h) has no area or is outside of the picture; a tracker starts from it'
            )

    @property
    def num_sequences(self) -> int:
        """Number of sequences, in both modes."""
        return len(self.data_address) if self.serialize_data else len(self.data_list)

    def __len__(self) -> int:
        """Return the number of sequences (``test_mode``) or of pairs per epoch."""
        if not self._fully_initialized:
            self.full_init()
        if self.test_mode or self.samples_per_epoch is None:
            return self.num_sequences
        return self.samples_per_epoch

    def get_data_info(self, idx: int) -> dict:
        """Return the description of sequence ``idx``, in both modes."""
        return super().get_data_info(
            idx % max(self.num_sequences, 1) if self._fully_initialized else idx
        )

    def __getitem__(self, idx: int) -> dict:
        """Return sequence ``idx`` in test mode, else a random training pair.

        Raises:
            ValueError: the pipeline has rejected ``max_refetch`` consecutive pairs.
        """
        try:
            return super().__getitem__(idx)
        except Exception as error:
            if self.test_mode or type(error) is not Exception:  # mmengine's error is a plain one
                raise
            sequence, (template, search) = self._drawn
            raise ValueError(
                f'{type(self).__name__}: none of the crops of {self.max_refetch + 1} consecutive '
                f'pairs contains a target; the last pair has frames {template} and {search} (from '
                f'0) of sequence {sequence}; check its boxes'
            ) from None

    def prepare_data(self, idx: int) -> dict | None:
        """Return one processed sample: sequence ``idx`` in test mode, else a random training pair.

        In training, ``idx`` is not used: the sequence and the two frames are drawn at random. The
        result is None if the pipeline rejects the pair because a crop contains no target; mmengine
        then draws again.
        """
        if self.test_mode:
            return super().prepare_data(idx)
        # workers and resumed runs seed numpy's global generator
        info = self.get_data_info(int(self._trainable[np.random.randint(len(self._trainable))]))
        pair = draw_pair(self._visible(info), self.max_gap)
        self._drawn = (info['sequence'], pair)
        data = dict(sequence=info['sequence'])
        for name, frame in zip(('template', 'search'), pair):
            data[f'{name}_frame'] = (info['frames'], frame)
            data[f'{name}_box'] = np.asarray(info['gt_boxes'][frame], np.float32)
        return self.pipeline(data)
