"""The stand-in for mmcv's compiled ops: right numbers, refusals by name, never in front of compiled
ops.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmcv')
torchvision = pytest.importorskip('torchvision')
from mmbsa.utils import mmcv_ops  # noqa: E402
from mmbsa.utils.mmcv_ops import STAND_IN, MissingOp, has_compiled_ops  # noqa: E402

pytestmark = pytest.mark.det

ROOT = Path(__file__).resolve().parents[2]


def python(code, *paths):
    """Run code in a process of its own, with folders in front of the path; its output, or an
    AssertionError.
    """
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([*map(str, paths), str(ROOT)]),
        PYTHONWARNINGS='ignore',
    )
    done = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def random_boxes(number, size=60.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(number, 2, generator=generator) * size
    return torch.cat(
        [corner, corner + 1 + torch.rand(number, 2, generator=generator) * size / 2], 1
    )


def overlap(a, b, offset):
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    inner = (high - low + offset).clamp(min=0).prod()
    return inner / ((a[2:] - a[:2] + offset).prod() + (b[2:] - b[:2] + offset).prod() - inner)


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_is_greedy_suppression(offset):
    boxes, scores = random_boxes(40), torch.rand(40, generator=torch.Generator().manual_seed(1))
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index], boxes[k], offset) <= 0.4 for k in kept):
            kept.append(index)
    found = STAND_IN.nms(boxes, scores, iou_threshold=0.4, offset=offset)
    assert found.tolist() == kept and 1 < len(kept) < 40


def test_nms_counts_edges_with_an_offset():
    boxes, scores = (
        torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]]),
        torch.tensor([0.9, 0.8]),
    )  # 1/3, and 6/12 of 3 x 3
    assert len(STAND_IN.nms(boxes, scores, iou_threshold=0.4, offset=0)) == 2
    assert len(STAND_IN.nms(boxes, scores, iou_threshold=0.4, offset=1)) == 1


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient(aligned, sampling_ratio):
    from mmcv.ops import RoIAlign

    torch.manual_seed(0)
    x = torch.randn(2, 3, 12, 16, requires_grad=True)
    rois = torch.cat([torch.tensor([[0.0], [1.0], [1.0]]), random_boxes(3)], 1)
    out = RoIAlign((5, 4), 0.25, sampling_ratio, aligned=aligned)(x, rois)
    expected = torchvision.ops.roi_align(x, rois, (5, 4), 0.25, sampling_ratio or -1, aligned)
    assert torch.equal(out, expected)
    weight = torch.randn_like(out)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    assert torch.allclose(gradient, torch.autograd.grad((expected * weight).sum(), x)[0], atol=1e-6)
    assert gradient.abs().sum() > 0


@pytest.mark.skipif(has_compiled_ops(), reason="mmcv's compiled focal loss needs CUDA")
@pytest.mark.parametrize('weighted', [False, True])
def test_focal_loss_and_its_gradient(weighted):
    from mmcv.ops import sigmoid_focal_loss

    torch.manual_seed(0)
    logits = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 3, 1, 0])  # 3 is the background
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64) if weighted else None
    hot = torch.nn.functional.one_hot(target, 4)[:, :3].double()
    p = logits.sigmoid()
    expected = -hot * 0.25 * (1 - p) ** 2 * p.log() - (1 - hot) * 0.75 * p**2 * (1 - p).log()
    if weighted:
        expected = expected * weight[target.clamp(max=2)][:, None]
    loss = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, 'sum')
    torch.testing.assert_close(loss, expected.sum())
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits)[0], torch.autograd.grad(expected.sum(), logits)[0]
    )


@pytest.mark.parametrize(
    'name', ['deform_conv_forward', 'softnms', 'nms_rotated', 'ms_deform_attn_forward']
)
def test_other_ops_are_refused_by_name(name):
    with pytest.raises(MissingOp, match=f'{name} needs mmcv'):
        getattr(STAND_IN, name)(1, 2)
    with pytest.raises(MissingOp, match='max'):
        STAND_IN.roi_align_forward(
            *[torch.zeros(1, 1, 2, 2)] * 5,
            aligned_height=1,
            aligned_width=1,
            spatial_scale=1.0,
            sampling_ratio=0,
            pool_mode=0,
            aligned=True,
        )


def test_stand_in_agrees_with_compiled_ops():
    if not has_compiled_ops():
        pytest.skip('mmcv was installed without its compiled ops')
    from mmcv import _ext

    boxes, scores = random_boxes(50), torch.rand(50, generator=torch.Generator().manual_seed(2))
    for offset in (0, 1):
        assert torch.equal(
            _ext.nms(boxes, scores, iou_threshold=0.5, offset=offset),
            STAND_IN.nms(boxes, scores, iou_threshold=0.5, offset=offset),
        )
    x, rois = torch.randn(2, 3, 12, 16), torch.cat([torch.ones(6, 1), random_boxes(6)], 1)
    empty = x.new_zeros(0)
    options = dict(
        aligned_height=4,
        aligned_width=3,
        spatial_scale=0.25,
        sampling_ratio=0,
        pool_mode=1,
        aligned=True,
    )
    ours, theirs = x.new_zeros(6, 3, 4, 3), x.new_zeros(6, 3, 4, 3)
    STAND_IN.roi_align_forward(x, rois, ours, empty, empty, **options)
    _ext.roi_align_forward(x, rois, theirs, empty, empty, **options)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    grad, ours, theirs = torch.randn_like(ours), torch.zeros_like(x), torch.zeros_like(x)
    STAND_IN.roi_align_backward(grad, rois, empty, empty, ours, **options)
    _ext.roi_align_backward(grad, rois, empty, empty, theirs, **options)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def fake_mmcv(folder, ext):
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    if ext is not None:
        (package / '_ext.py').write_text(ext)
    return folder


def test_ops_that_are_there_are_not_shadowed(tmp_path):
    code = 'import mmbsa.utils.mmcv_ops, mmcv._ext; print(mmcv._ext.ORIGIN)'
    assert python(code, fake_mmcv(tmp_path, "ORIGIN = 'theirs'")).strip() == 'theirs'


def test_importing_mmbsa_alone_changes_nothing(tmp_path):
    code = 'import importlib.util, mmbsa; print(importlib.util.find_spec("mmcv._ext"))'
    assert python(code, fake_mmcv(tmp_path, None)).strip() == 'None'


def test_command_writes_a_pointer_and_takes_it_away(tmp_path):
    folder = fake_mmcv(tmp_path, None)
    run = 'from mmbsa.utils.mmcv_ops import main; main({})'
    pointer = folder / 'mmcv' / '_ext.py'
    assert str(pointer) in python(run.format('[]'), folder) and pointer.is_file()
    code = 'import mmcv._ext, sys; print(sys.modules["mmcv._ext"].nms.__module__)'
    assert python(code, folder).strip() == 'mmbsa.utils.mmcv_ops'
    python(run.format('["--remove"]'), folder)
    assert not pointer.exists()


def test_command_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(mmcv_ops.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit, match='mmcv is not installed'):
        mmcv_ops.main([])


@pytest.mark.skipif(has_compiled_ops(), reason='mmcv has its compiled ops')
def test_modules_that_did_without_ops_get_them():
    pytest.importorskip('mmdet')
    code = """
try:
    import mmdet.models
except ModuleNotFoundError as error:
    assert "_ext" in str(error)
import mmbsa.utils.mmcv_ops
import mmdet.models
from mmdet.models.dense_heads import rpn_head
from mmdet.structures.mask import structures
print(rpn_head.batched_nms.__module__, 'raise' in getattr(structures.roi_align, '__qualname__', ''))
from mmcv import ops
assert structures.roi_align is ops.roi_align
"""
    assert python(code).split()[-2] == 'mmcv.ops.nms'
