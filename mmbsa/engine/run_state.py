"""State of a run besides weights, optimizer and schedules: accumulated gradients and hooks."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, all_reduce_params
from mmengine.hooks import (
    CheckpointHook,
    Hook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    RuntimeInfoHook,
)
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

#: hooks without state, with state that is stored elsewhere, or that only measure time.
_NOT_KEPT = (CheckpointHook, IterTimerHook, LoggerHook, ParamSchedulerHook, RuntimeInfoHook)
_PLAIN = (bool, int, float, str, type(None), torch.Tensor)
_DTYPES = (
    'float32',
    'float64',
    'int32',
    'int64',
    'uint8',
    'bool',
)  # numpy types that checkpoints may contain


def half_accumulated(wrapper: OptimWrapper | OptimWrapperDict) -> bool:
    """Return whether gradients wait for further iterations before the optimizer steps."""
    parts = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return any(
        getattr(part, '_accumulative_counts', 1) > 1 and not part.should_update() for part in parts
    )


def gather_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Average the gradients over all processes, and return copies on the CPU by parameter.

    Processes accumulate separately and average at the step. An earlier average does not change the
    step, and the gradients of one process are enough for a resumed run with any number of
    processes.

    Args:
        model: the model, also in a wrapper for distributed training.
    """
    named = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    if not named:
        return {}
    device = next(iter(named.values())).device
    there = torch.tensor(
        [parameter.grad is not None for parameter in named.values()],
        dtype=torch.int32,
        device=device,
    )
    all_reduce(there, op='max')  # a parameter may have been used in some processes only
    named = {
        name: parameter for (name, parameter), used in zip(named.items(), there.tolist()) if used
    }
    for parameter in named.values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_params([parameter.grad for parameter in named.values()], op='mean')
    return {name: parameter.grad.detach().cpu().clone() for name, parameter in named.items()}


def set_gradients(model: nn.Module, gradients: dict[str, torch.Tensor]) -> None:
    """Set the gradients of :func:`gather_gradients` again."""
    for name, parameter in model.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device, parameter.dtype, copy=True)


def _is_plain(value: Any, depth: int = 3) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(
            _is_plain(key, 0) and _is_plain(one, depth - 1) for key, one in value.items()
        )
    if isinstance(value, list | tuple):
        return (
            depth > 0
            and type(value) in (list, tuple)
            and all(_is_plain(one, depth - 1) for one in value)
        )
    if isinstance(value, np.generic | np.ndarray):
        return value.dtype.name in _DTYPES
    return isinstance(value, _PLAIN)


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return type(value)(_copied(one) for one in value) if isinstance(value, list | tuple) else value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return (
            isinstance(one, torch.Tensor)
            and isinstance(other, torch.Tensor)
            and one.shape == other.shape
            and torch.equal(one, other)
        )
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


class HookStates:
    """Plain attributes of a run's hooks that changed since the start of the training.

    An example is the patience of early stopping. For a hook with ``state_dict`` and
    ``load_state_dict``, these methods are used. Models, files and timers are excluded.

    Args:
        hooks: all hooks of the run, ready to train.
    """

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.hooks, counts = {}, {}
        for hook in hooks:
            if isinstance(hook, _NOT_KEPT):
                continue
            kind = type(hook).__name__
            number = counts[kind] = counts.get(kind, -1) + 1
            self.hooks[f'{kind}.{number}' if number else kind] = hook
        self._begin = {name: self._plain(hook) for name, hook in self.hooks.items()}

    @staticmethod
    def _plain(hook: Hook) -> dict[str, Any]:
        return {name: _copied(value) for name, value in vars(hook).items() if _is_plain(value)}

    def get(self) -> dict[str, dict]:
        """Return hook -> its changed attributes."""
        states = {}
        for name, hook in self.hooks.items():
            if hasattr(hook, 'state_dict') and hasattr(hook, 'load_state_dict'):
                states[name] = hook.state_dict()
            else:
                begin = self._begin[name]
                changed = {
                    key: value
                    for key, value in self._plain(hook).items()
                    if key not in begin or not _same(value, begin[key])
                }
                if changed:
                    states[name] = changed
        return states

    def set(self, states: dict[str, dict]) -> None:
        """Restore the result of :meth:`get`; hooks that this run does not have are ignored."""
        for name, state in states.items():
            hook = self.hooks.get(name)
            if hook is None:
                continue
            if hasattr(hook, 'load_state_dict'):
                hook.load_state_dict(state)
            else:
                vars(hook).update({key: _copied(value) for key, value in state.items()})


def bare_model(model: nn.Module) -> nn.Module:
    """Return a model without its distributed wrapper."""
    return model.module if is_model_wrapper(model) else model


def validation_is_due(runner: Runner) -> bool:
    """Return whether the training loop validates after its current iteration (or epoch)."""
    loop = runner.train_loop
    by_iter = isinstance(loop, IterBasedTrainLoop)
    done, last = (loop.iter, loop.max_iters) if by_iter else (loop.epoch, loop.max_epochs)
    if runner.val_loop is None or done < max(loop.val_begin, 1):
        return False
    loop._decide_current_val_interval()
    return done % loop.val_interval == 0 or done == last


def average_buffers(runner: Runner) -> None:
    """Average the buffers (BN statistics) of model and moving average over all processes.

    Only the buffers of the first process are saved. Without the average, a resumed run would
    continue with other statistics in the other processes, and a test would not repeat the
    validation that selected a checkpoint.
    """
    for model in (
        runner.model,
        *(hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model')),
    ):
        all_reduce_params(model.buffers(), op='mean')
