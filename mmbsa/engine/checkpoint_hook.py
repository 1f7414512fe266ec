"""Checkpoints that remain valid after SIGKILL at any time, and exact resume."""

import logging
import os
import os.path as osp
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    is_main_process,
)
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmbsa.engine.data_stream import DataStream, seed_epochs
from mmbsa.engine.nodes import is_first_of_node, share_file
from mmbsa.engine.run_state import (
    HookStates,
    average_buffers,
    bare_model,
    gather_gradients,
    half_accumulated,
    set_gradients,
    validation_is_due,
)
from mmbsa.registry import HOOKS
from mmbsa.utils.checkpoint import POINTER, checkpoints_newest_first, fit_state, whole_checkpoints
from mmbsa.utils.files import atomic_open, lock_folder, remove_drafts
from mmbsa.utils.random_state import get_random_state, set_random_state

BACKEND = 'mmbsa.atomic_local'
STATE = 'resume_state'


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """Storage backend for local files; a file is written completely or not at all."""

    def put(self, obj: bytes, filepath: str) -> None:
        """Write bytes to a file through a synced temporary file in the same folder.

        Args:
            obj: the bytes.
            filepath: path of the file.
        """
        with atomic_open(filepath) as file:
            file.write(obj)


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` for runs that may be killed at any time.

    * A checkpoint and the pointer ``last_checkpoint`` are replaced atomically. An outdated
      checkpoint is deleted only after the new one is on disk.
    * ``--resume`` loads the newest complete checkpoint; truncated or damaged ones are skipped with
      a warning. If a validation was due at this checkpoint and was not done, it is done first.
    * A work dir in which another process trains raises an error.
    * Only the machine of the first process needs the file; others receive it over the network.
    * Before a checkpoint is saved, and before a validation, buffers are averaged over the processes
      (see ``average_buffers``).
    * A checkpoint contains the random states of every process, the number of used samples,
      gradients that wait for the next step of the optimizer (``accumulative_counts``), and the
      changed state of other hooks (for example the patience of early stopping; see ``HookStates``).
      A resumed iteration-based run repeats the uninterrupted one bit for bit (if the kernels of the
      device are deterministic), and loads no sample again; see ``DataStream``, which this hook
      connects to the training loop. Validation uses the generators and then restores their states.

    An epoch-based loop keeps its own data order (mmengine's samplers depend on seed and epoch), and
    augmentations depend on seed, epoch and position in the epoch: a run that is resumed after an
    epoch repeats the uninterrupted one bit for bit too.

    Args:
        args, kwargs: arguments of mmengine's hook, with the same defaults.
        backend_args: storage; None (default) means local files, written atomically.
    """

    def __init__(self, *args, backend_args: dict | None = None, **kwargs) -> None:
        super().__init__(*args, backend_args=backend_args or dict(backend=BACKEND), **kwargs)
        self._resumed: dict | None = None  # state of a loaded checkpoint
        self._state: dict | None = None  # state for the next checkpoint
        self._held: dict | None = None  # random state of the training during a validation
        self._stream: DataStream | None = None
        self._hooks: HookStates | None = None
        self._metrics: dict | None = None  # metrics of the last validation
        self._lock = None  # kept until the process ends
        self._received: str | None = None  # a checkpoint from another machine
        self._start = (0, 0)  # iteration and number of samples at the start of the stream

    #: whether the training uses a stream without end, see ``DataStream``.
    streams = True

    def saved(self, runner: Runner) -> list[Path]:
        """List the checkpoints of this run, newest first."""
        folder = runner.work_dir
        if self.out_dir is not None and self.out_dir != folder:
            name = osp.basename(folder.rstrip(osp.sep))
            folder = (
                self.out_dir if osp.basename(self.out_dir) == name else osp.join(self.out_dir, name)
            )
        return checkpoints_newest_first(
            folder, self.filename_tmpl, osp.join(runner.work_dir, POINTER)
        )

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint for resume: the newest complete one of the first process.

        Every process uses the same checkpoint.
        """
        # this hook runs last, so that a checkpoint contains the result of every other hook in an
        # iteration; a new list, because the runner iterates over the old one
        runner._hooks = [*(hook for hook in runner._hooks if hook is not self), self]
        if runner._load_from is not None:
            self._receive(runner)
            return
        if not runner._resume or self.backend_args.get('backend') != BACKEND:
            return
        found = [None, None]
        if is_main_process():
            saved = self.saved(runner)
            found = [next(map(str, whole_checkpoints(saved)), None), [str(path) for path in saved]]
        broadcast_object_list(found)
        path, listed = found
        if path is None and listed:
            raise RuntimeError(
                f'cannot resume: none of the checkpoints is complete: {", ".join(listed)}. Restore '
                'one, or start again without --resume.'
            )
        if path is None:
            runner.logger.info(
                f'{runner.work_dir} has no checkpoint to resume from, the run starts from the '
                'beginning'
            )
        runner._load_from = path
        if path is not None:
            self._receive(runner)

    def _receive(self, runner: Runner) -> None:
        """Load a copy of the first process's checkpoint on machines that do not have it."""
        path = str(runner._load_from)
        if '://' not in path:
            runner._load_from = share_file(path, runner.work_dir)
            self._received = runner._load_from if runner._load_from != path else None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Select the weights in the file, and keep random states and data position until training.

        Raises:
            ValueError: the file has none of the model's weights (mmengine would continue with
                random weights).
        """
        wanted = bare_model(runner.model).state_dict()
        given = checkpoint.get('state_dict', checkpoint)
        if not any(str(key).removeprefix('module.') in wanted for key in given):
            try:
                checkpoint['state_dict'] = fit_state(checkpoint, wanted)
            except KeyError as error:
                raise ValueError(
                    f'checkpoint {runner._load_from} does not fit the model: {error.args[0]}'
                ) from None
        if any(
            all_gather_object(self._received is not None)
        ):  # it is now in memory in every process
            if self._received is not None and is_first_of_node():
                os.remove(self._received)
            self._received = None
        if not runner._resume:
            return
        self._resumed = checkpoint.get(STATE)
        if self._resumed is None:
            print_log(
                'the checkpoint was not written by mmbsa.ResumableCheckpointHook: the data '
                'continues after '
                'its iteration, but random states are not restored',
                'current',
                logging.WARNING,
            )

    def before_train(self, runner: Runner) -> None:
        """Prepare the work dir, and connect a data stream to the loop."""
        super().before_train(runner)
        self._hooks = HookStates(runner.hooks)
        if self._resumed is not None:
            self._hooks.set(self._resumed.get('hooks', {}))
        if is_main_process() and self.backend_args.get('backend') == BACKEND:
            os.makedirs(self.out_dir, exist_ok=True)
            self._lock = lock_folder(self.out_dir)
            remove_drafts(self.out_dir)
        loop = runner.train_loop
        sampler_cfg = (runner.cfg.get('train_dataloader') or {}).get('sampler')
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        if not by_epoch and not isinstance(loop, IterBasedTrainLoop):
            return
        if not (by_epoch or isinstance(sampler_cfg, dict)) or not DataStream.fits(loop.dataloader):
            print_log(
                'train_dataloader has a custom sampler or batch sampler: a resumed run will not '
                'use exactly the data of an uninterrupted one',
                'current',
                logging.WARNING,
            )
            return
        if by_epoch:
            seed = getattr(
                loop.dataloader.sampler, 'seed', runner.seed
            )  # the same in every process
            loop.dataloader = seed_epochs(loop.dataloader, seed, lambda: loop.epoch)
            return
        seed = None if runner._randomness_cfg.get('diff_rank_seed') else runner.seed
        state = self._resumed or {}
        # an eager iterator (mmengine 0.10.7) has no skip_iter, and its loop skips by calls of next
        skips = 0 if hasattr(loop.dataloader_iterator, 'skip_iter') else loop.iter
        samples = state.get('samples')
        if samples is None:
            samples = loop.iter * loop.dataloader.batch_size * runner.world_size
        loop.dataloader_iterator = None
        loop.dataloader._iterator = (
            None  # together with the line above, this ends workers that were started too early
        )
        self._stream = loop.dataloader_iterator = DataStream(
            loop.dataloader, sampler_cfg, state.get('seed', seed), samples, skips
        )
        self._start = (loop.iter, samples)

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore the random states of a resumed run, and run a validation that was interrupted.

        Between this method and the first batch, nothing uses the generators.
        """
        if self._resumed is None:
            return
        state, self._resumed = self._resumed, None
        if len(state['random']) == runner.world_size:
            set_random_state(state['random'][get_rank()])
        else:
            print_log(
                f'the checkpoint has the random states of {len(state["random"])} processes, this '
                'run has '
                f'{runner.world_size}: they are not restored',
                'current',
                logging.WARNING,
            )
        if 'gradients' in state:
            set_gradients(bare_model(runner.model), state['gradients'])
        elif half_accumulated(runner.optim_wrapper):
            print_log(
                'the checkpoint was written between two steps of the optimizer, without the '
                'gradients that were '
                'accumulated: they are lost',
                'current',
                logging.WARNING,
            )
        if not state['validated'] and validation_is_due(runner):
            runner.val_loop.run()

    def before_val(self, runner: Runner) -> None:
        """Save the training's random state, and give every process the same buffers."""
        self._held = get_random_state()
        average_buffers(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Record the metrics; ``after_val`` saves the best checkpoint after all hooks have run."""
        self._metrics = metrics

    def after_val(self, runner: Runner) -> None:
        """Save the best checkpoint, and restore the random state from before the validation."""
        metrics, self._metrics = self._metrics, None
        if metrics is not None and self._hooks is not None:  # a validation alone saves nothing
            super().after_val_epoch(runner, metrics)
        set_random_state(self._held)
        self._held = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the random states and the position in the data."""
        if self._state is not None:
            checkpoint[STATE] = self._state

    def _gather_state(self, runner: Runner, iteration: int) -> dict:
        state = dict(
            random=all_gather_object(self._held or get_random_state()),
            validated=self._held is not None,
        )
        if self._hooks is not None:
            state['hooks'] = self._hooks.get()
        if half_accumulated(runner.optim_wrapper):
            state['gradients'] = gather_gradients(bare_model(runner.model))
        if self._stream is not None:
            begin, samples = self._start
            state['samples'] = samples + (iteration - begin) * self._stream.samples_per_iter
            state['seed'] = self._stream.seed
        return state

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write the checkpoint, then the pointer, then delete the outdated checkpoint."""
        outdated = None
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            there = [*self.keep_ckpt_ids, step]
            # the outdated checkpoint is listed until it is deleted, so that a resumed run deletes
            # it in before_train
            runner.message_hub.update_info('keep_ckpt_ids', there)
            outdated = there[0] if len(there) > self.max_keep_ckpts else None
            self.keep_ckpt_ids.append(step)  # a deque, which removes the outdated one
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        average_buffers(runner)
        self._state = self._gather_state(runner, meta['iter'])
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._state = None
        if not is_main_process():
            return
        with atomic_open(osp.join(runner.work_dir, POINTER)) as file:
            file.write(self.last_ckpt.encode())
        if outdated is not None:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint, then delete the previous best (mmengine deletes first)."""
        with _removals_last(self):
            super()._save_best_checkpoint(runner, metrics)


class _Postponed:
    """A file backend that records files to remove instead of removing them."""

    def __init__(self, backend) -> None:
        self.backend, self.paths = backend, []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.paths.append(path)


@contextmanager
def _removals_last(hook: ResumableCheckpointHook):
    hook.file_backend = postponed = _Postponed(hook.file_backend)
    try:
        yield
    finally:
        hook.file_backend = postponed.backend
    kept = {
        getattr(hook, 'best_ckpt_path', None),
        *getattr(hook, 'best_ckpt_path_dict', {}).values(),
    }
    for path in postponed.paths:
        if path not in kept:
            postponed.backend.remove(path)
