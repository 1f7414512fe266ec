"""Hook that counts operations and energy of a model during validations and tests."""

import json
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmbsa.energy.account import Energy, markdown
from mmbsa.energy.costs import cost_table
from mmbsa.energy.watch import Watcher
from mmbsa.registry import HOOKS
from mmbsa.utils.files import atomic_open


@HOOKS.register_module()
class EnergyHook(Hook):
    """Count operations and energy of one image in a validation or test, as a mean over batches.

    The metrics get the entries ``energy/compute_mJ``, ``energy/memory_mJ``, ``energy/GMAC`` and
    ``energy/GAC``, so the log and all visualizers show them. ``energy.json`` (``energy_test.json``)
    in the work dir contains every layer, and ``energy.md`` the same as tables.

    Args:
        cost: preset, file or dict of :class:`mmbsa.energy.CostTable`; ``'field'`` by default.
        interval: count every ``interval``-th batch, beginning with the first one; 1 by default.
        max_batches: largest number of counted batches per validation and process; None (default)
            has no limit.
        strict: whether an op without a rule raises an error; False by default.
        attention_order: order of attentions without a normaliser, see
            :class:`mmbsa.energy.OpCounter`; ``'taken'`` by default.

    Raises:
        ValueError: ``interval`` or ``max_batches`` is below 1, or the cost is unknown.
    """

    # before RuntimeInfoHook and LoggerHook, so that they log the entries
    priority = 'VERY_HIGH'

    def __init__(
        self,
        cost: str | dict = 'field',
        interval: int = 1,
        max_batches: int | None = None,
        strict: bool = False,
        attention_order: str = 'taken',
    ) -> None:
        for name, value in (('interval', interval), ('max_batches', max_batches)):
            if value is not None and value < 1:
                raise ValueError(f'EnergyHook: {name} must be at least 1, got {value}')
        self.cost = cost_table(cost)
        self.interval, self.max_batches = interval, max_batches
        self.options = dict(strict=strict, attention_order=attention_order)
        self._watcher: Watcher | None = None
        self._counted = 0

    def before_val_epoch(self, runner: Runner) -> None:
        """Reset the counts."""
        self._begin(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """Reset the counts."""
        self._begin(runner)

    def _begin(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._watcher, self._counted = Watcher(model, **self.options), 0

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Start to count at every ``interval``-th batch."""
        if (
            batch_idx % self.interval
            or self.max_batches is not None
            and self._counted >= self.max_batches
        ):
            return
        self._counted += 1
        self._watcher.start(data_batch)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Start to count at every ``interval``-th batch."""
        self.before_val_iter(runner, batch_idx, data_batch)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop to count after the batch."""
        self._watcher.stop()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop to count after the batch."""
        self._watcher.stop()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the results to the metrics and write the files."""
        self._report(runner, metrics, 'val')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the results to the metrics and write the files."""
        self._report(runner, metrics, 'test')

    def _report(self, runner: Runner, metrics: dict[str, float] | None, mode: str) -> None:
        reports = [report for report in all_gather_object(self._watcher.report) if report.images]
        self._watcher = None
        if not reports:
            return print_log('EnergyHook: no batch was counted', 'current', 30)
        report = reports[0]
        for other in reports[1:]:
            report = report + other
        result = Energy(report, self.cost)
        total = report.total
        figures = {
            'energy/compute_mJ': result.compute,
            'energy/memory_mJ': result.memory,
            'energy/GMAC': total.mac / report.images * 1e-9,
            'energy/GAC': total.ac / report.images * 1e-9,
        }
        if metrics is not None:
            metrics.update(figures)
        for name, value in figures.items():  # RuntimeInfoHook may already have copied the metrics
            runner.message_hub.update_scalar(f'{mode}/{name}', value)
        if report.unknown:
            print_log(
                f'EnergyHook: without a rule, not counted: {", ".join(report.unknown)}',
                'current',
                30,
            )
        if is_main_process():
            stem = Path(runner.work_dir) / ('energy' if mode == 'val' else 'energy_test')
            content = dict(iter=runner.iter, energy=result.as_dict(), report=report.as_dict())
            for path, text in (
                (stem.with_suffix('.json'), json.dumps(content, indent=1)),
                (stem.with_suffix('.md'), markdown(result)),
            ):
                with atomic_open(path) as file:
                    file.write(text.encode())
