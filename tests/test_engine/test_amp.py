"""Mixed precision on CPUs: what is bfloat16, and what stays float32."""

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmbsa.registry import HOOKS, OPTIM_WRAPPERS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
Pair = namedtuple('Pair', 'score box')


class Branching(nn.Module):
    """A head whose output is nested."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        y = self.linear(x)
        return dict(pair=Pair(y, [y, (y.argmax(1),)]), name='boxes')


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.bbox_head = nn.Linear(3, 4), nn.ModuleList([Branching()])
        self.conv_seg, self.header = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.backbone(x)
        return x, self.bbox_head[0](x), self.conv_seg(x), self.header(x)


def with_hook(model):
    HOOKS.build(dict(type='mmbsa.Float32HeadsHook')).before_run(SimpleNamespace(model=model))
    return model


def test_outputs_of_heads_are_float32():
    torch.manual_seed(0)
    with torch.autocast('cpu', torch.bfloat16):
        x, head, segments, other = with_hook(Model())(torch.randn(2, 3))
    assert x.dtype == other.dtype == torch.bfloat16 and segments.dtype == torch.float32
    score, (box, (index,)) = head['pair']
    assert isinstance(head['pair'], Pair) and head['name'] == 'boxes'
    assert score.dtype == box.dtype == torch.float32 and index.dtype == torch.int64


def test_a_training_step_computes_in_bfloat16_and_learns_in_float32():
    torch.manual_seed(0)
    model, x = nn.Linear(3, 2), torch.randn(5, 3)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='mmbsa.CPUAmpOptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    )
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        y = model(x)
    wrapper.backward(y.float().pow(2).sum())
    wrapper.step()
    assert y.dtype == torch.bfloat16 and model.weight.grad is not None
    assert model.weight.dtype == model.weight.grad.dtype == torch.float32
    torch.testing.assert_close(model.weight.detach(), before - model.weight.grad)


def test_boxes_of_detectors_are_float32():
    pytest.importorskip('mmdet')
    from mmdet.structures import DetDataSample

    from mmbsa.apis.inference import build_model

    cfg = Config.fromfile(CONFIGS / 'bsa_detection_quickstart.py')
    cfg.model.backbone.arch = dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2)
    cfg.model.neck.in_channels = [8, 16, 16, 24]
    torch.manual_seed(0)
    model, size = with_hook(build_model(cfg)).eval(), (64, 96)
    model.roi_head.test_cfg.score_thr = 0.0
    meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        (sample,) = model.predict(torch.randn(1, 3, *size), [DetDataSample(metainfo=meta)])
    boxes = sample.pred_instances.bboxes
    assert len(boxes) and boxes.dtype == sample.pred_instances.scores.dtype == torch.float32
    assert (boxes != boxes.bfloat16().float()).any()
