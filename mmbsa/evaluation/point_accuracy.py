"""Overall and mean accuracy, as in papers on point clouds."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmbsa.registry import METRICS


@METRICS.register_module()
class PointAccuracy(BaseMetric):
    """Overall accuracy ``OA`` and mean accuracy over classes ``mAcc``, in percent.

    OA is the share of samples with the right label. mAcc is the mean of that share over the classes
    that have samples.

    Args:
        per_batch: whether to report ``OA_per_batch`` and ``mAcc_per_batch`` too, as the test script
            of Spiking Point Transformer does: shares of each batch (for mAcc: of each class within
            a batch) are averaged over the batches in which they exist. With several processes, each
            process has its own batches. False by default.
        collect_device, prefix: arguments of mmengine's ``BaseMetric``; keys begin with ``points/``.
    """

    default_prefix = 'points'

    def __init__(
        self, per_batch: bool = False, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device, prefix)
        self.per_batch = per_batch

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the predicted and the true label of every sample of a batch.

        Args:
            data_batch: not used.
            data_samples: dicts with ``gt_label``, and ``pred_label`` or ``pred_score`` (L,).
                Without ``pred_label`` the class with the largest score is the prediction.
        """
        for index, sample in enumerate(data_samples):
            label = (
                sample['pred_label']
                if 'pred_label' in sample
                else sample['pred_score'].argmax(keepdim=True)
            )
            self.results.append((int(label), int(sample['gt_label']), index))

    def compute_metrics(self, results: list[tuple[int, int, int]]) -> dict[str, float]:
        """Compute the metrics from the (index, label, prediction) results of all samples."""
        predicted, truth, place = np.array(results).T
        right = predicted == truth
        figures = dict(
            OA=right.mean(),
            mAcc=np.mean([right[truth == label].mean() for label in np.unique(truth)]),
        )
        if self.per_batch:
            batches = np.split(np.arange(len(truth)), np.flatnonzero(place == 0)[1:])
            shares: dict[int, list[float]] = {}
            for batch in batches:
                for label in np.unique(truth[batch]):
                    shares.setdefault(label, []).append(right[batch][truth[batch] == label].mean())
            figures.update(
                OA_per_batch=np.mean([right[batch].mean() for batch in batches]),
                mAcc_per_batch=np.mean([np.mean(found) for found in shares.values()]),
            )
        return {key: 100 * float(value) for key, value in figures.items()}
