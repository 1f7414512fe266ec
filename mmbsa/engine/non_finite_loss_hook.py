"""Hook that stops a run at the first loss that is not finite."""

import torch
from mmengine.dist import all_gather_object, all_reduce, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbsa.registry import HOOKS
from mmbsa.utils.checkpoint import is_finite, whole_checkpoints


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Raise ``FloatingPointError`` in every process if a loss of any process is infinite or NaN.

    The message names the iteration, the losses and files of the batch, and the newest checkpoint
    with finite weights. The check runs before a checkpoint is written. It costs one number per
    iteration (and its all-reduce), because mmengine reads the losses for its log in every iteration
    anyway.
    """

    priority = 'HIGH'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Check the losses of ``train_step``: its outputs whose names contain ``loss``."""
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        values = [
            torch.as_tensor(value).detach().float().mean().reshape(1) for value in losses.values()
        ]
        if not values:
            return
        bad = (~torch.cat(values).isfinite()).any().int()
        all_reduce(bad, op='max')
        if bad:
            self._stop(
                runner, {name: float(value) for name, value in zip(losses, values)}, data_batch
            )

    def _stop(self, runner: Runner, losses: dict[str, float], data_batch) -> None:
        finite = all(value - value == 0 for value in losses.values())
        reports = all_gather_object(None if finite else (losses, batch_files(data_batch)))
        lines = [
            f'process {rank}: '
            + ', '.join(f'{name} = {value:g}' for name, value in report[0].items())
            + '; batch: '
            + ', '.join(report[1])
            for rank, report in enumerate(reports)
            if report
        ]
        good = [None]
        if is_main_process():
            saved = [
                path
                for hook in runner.hooks
                if hasattr(hook, 'saved')
                for path in hook.saved(runner)
            ]
            good = [next((str(path) for path in whole_checkpoints(saved) if is_finite(path)), None)]
        broadcast_object_list(good)
        raise FloatingPointError(
            f'the loss is not finite at iteration {runner.iter + 1}\n  '
            + '\n  '.join(lines)
            + f'\n  last good checkpoint: {good[0] or "none was saved yet"}'
        )


def batch_files(data_batch) -> list[str]:
    """Return the image files of a batch of mm data samples, or names without files."""
    samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
    return [
        str(getattr(sample, 'img_path', f'sample {i} without img_path'))
        for i, sample in enumerate(samples)
    ]
