"""A loss that is not finite stops the run, and says where, on what, and what to go back to."""

import re

import pytest
import tiny_run
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmbsa.utils.checkpoint import load_checkpoint_file

pytestmark = pytest.mark.seg


@HOOKS.register_module(force=True)
class PoisonHook(Hook):
    """Spoil a weight before (or after, when the loss is still finite) one iteration of one
    process."""

    def __init__(self, iteration, value=float('nan'), rank=0, after=False):
        self.iteration, self.value, self.rank, self.after = iteration, value, rank, after

    def _poison(self, runner, when):
        if runner.iter + 1 == self.iteration and runner.rank == self.rank and when == self.after:
            with torch.no_grad():
                next(runner.model.parameters()).view(-1)[0] = self.value

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._poison(runner, False)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._poison(runner, True)


def stop(tmp_path, **poison) -> str:
    config = tiny_run.write_config(tmp_path)
    with pytest.raises(FloatingPointError) as error:
        tiny_run.train(
            config,
            tmp_path / 'run',
            default_hooks__checkpoint__interval=2,
            default_hooks__poison=dict(type='PoisonHook', **poison),
        )
    return str(error.value)


def test_names_iteration_losses_files_and_last_good_checkpoint(tmp_path):
    message = stop(tmp_path, iteration=6)
    assert 'the loss is not finite at iteration 6' in message
    assert re.search(r'process 0: .*decode.loss_ce = nan', message)
    assert len(re.findall(r'data/img/train/\d\d\.jpg', message)) == 2
    assert message.endswith('last good checkpoint: ' + str(tmp_path / 'run/iter_4.pth'))
    assert not (tmp_path / 'run/iter_6.pth').exists()
    assert len(tiny_run.read_diary(tmp_path / 'run')[0]) == 5


def test_a_checkpoint_with_spoilt_weights_is_not_good(tmp_path):
    """The loss of iteration 4 was finite, the weights it left (and iter_4.pth) are not."""
    message = stop(tmp_path, iteration=4, after=True, value=float('inf'))
    assert 'at iteration 5' in message
    state = load_checkpoint_file(tmp_path / 'run/iter_4.pth')[
        'ema_state_dict'
    ]  # holds the weights, EMA being on
    assert not all(value.isfinite().all() for value in state.values())
    assert message.endswith('last good checkpoint: ' + str(tmp_path / 'run/iter_2.pth'))


def test_says_when_there_is_no_checkpoint_yet(tmp_path):
    assert stop(tmp_path, iteration=1).endswith('last good checkpoint: none was saved yet')
