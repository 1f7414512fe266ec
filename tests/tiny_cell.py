"""A training of a second with nothing but mmengine, for tests of what starts, kills and compares
trainings."""

import time

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn

CONFIG = """
custom_imports = dict(imports=['tiny_cell'], allow_failed_imports=False)
model = dict(type='TinyModel', width=4, pause=0.0, fail_at=None, inner=dict(kind='plain', gain=1.0))
data = dict(dataset=dict(type='TinyData'), batch_size=2, num_workers=0)
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True), **data)
val_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=False), **data)
val_evaluator = dict(type='TinyScore')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=12, val_interval=6)
val_cfg = dict()
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
sizes = (1, 2)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
    checkpoint=dict(
        type='mmbsa.ResumableCheckpointHook', by_epoch=False, interval=2,
        max_keep_ckpts=1, save_best='score', rule='greater'))
"""


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Regression of a line; sleeps in every iteration, and breaks in one if told so."""

    def __init__(self, width, pause, fail_at, inner):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.Linear(width, 1))
        self.pause, self.fail_at, self.gain, self.seen = pause, fail_at, inner['gain'], 0

    def forward(self, x, mode='tensor'):
        x = torch.stack(list(x)).view(-1, 1)
        if mode != 'loss':
            return [dict(error=(self.net(row) - 2 * row).abs().item(), gain=self.gain) for row in x]
        time.sleep(self.pause)
        self.seen += 1
        if self.seen == self.fail_at:
            raise RuntimeError('this cell was told to break')
        return dict(loss=(self.net(x) - 2 * x).square().mean())


@DATASETS.register_module(force=True)
class TinyData(torch.utils.data.Dataset):
    """Eight numbers."""

    metainfo: dict = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.tensor(index / 8))


@METRICS.register_module(force=True)
class TinyScore(BaseMetric):
    """Hundred times the gain minus the mean error."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(
            score=100 * results[0]['gain'] - sum(r['error'] for r in results) / len(results)
        )
