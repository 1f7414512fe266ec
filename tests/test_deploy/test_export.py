import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from family_checks import settled
from tiny_deploy import BSA, LIF, Small
from torch import nn

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy import export_aoti, export_onnx, export_torch
from mmbsa.deploy.export import trace
from mmbsa.models.attentions import build_attention
from mmbsa.ops import bipolar_attention
from mmbsa.registry import MODELS


def small():
    torch.manual_seed(0)
    return settled(Small()).float()


def compiler():
    """Path of the C++ compiler that torch would call, or None."""
    return shutil.which(os.environ.get('CXX', 'g++'))


def image(*shape, seed=0):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run_onnx(path, *inputs):
    ort = pytest.importorskip('onnxruntime')
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return [
        torch.from_numpy(x)
        for x in session.run(None, {f'input_{i}': x.numpy() for i, x in enumerate(inputs)})
    ]


ELSEWHERE = """
import sys, torch
x = torch.load('x.pt')
plain = torch.export.load('plain.pt2').module()(x)
assert 'mmbsa' not in sys.modules
import mmbsa.ops
assert mmbsa.ops.implementations('lif') == ['reference'], mmbsa.ops.implementations('lif')
own = torch.export.load('own.pt2').module()(x)
torch.save((plain, own), 'y.pt')
"""


def test_files_load_where_there_is_no_compiler(tmp_path):
    """The file stores ``auto``, not what the exporting machine chose."""
    model, x = small(), image(3, 3, 12, 12, seed=1)
    own = export_torch(model, (image(2, 3, 12, 12),), tmp_path / 'own.pt2')
    export_torch(model, (image(1, 3, 12, 12),), tmp_path / 'plain.pt2', plain=True)
    nodes = [node for node in own.graph.nodes if str(node.target).startswith('mmbsa.')]
    assert nodes and all(node.args[-1] == 'auto' for node in nodes)
    torch.save(x, tmp_path / 'x.pt')
    env = {
        **os.environ,
        'CXX': str(tmp_path / 'none'),
        'MMBSA_CACHE': str(tmp_path / 'cache'),
        'PYTHONPATH': str(Path(__file__).parents[2]),
    }
    env.pop('MMBSA_OPS_IMPL', None)
    subprocess.run([sys.executable, '-c', ELSEWHERE], cwd=tmp_path, env=env, check=True)
    with torch.no_grad():
        expected = model(x)
    for found in torch.load(tmp_path / 'y.pt'):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_onnx_of_any_batch_and_size(tmp_path):
    onnx = pytest.importorskip('onnx')
    model = small()
    export_onnx(
        model, (image(1, 3, 12, 16),), tmp_path / 'm.onnx', dynamic=('batch', 'height', 'width')
    )
    proto = onnx.load(tmp_path / 'm.onnx')
    onnx.checker.check_model(proto)
    assert {(entry.domain, entry.version) for entry in proto.opset_import} == {('', 18)}
    for shape in ((1, 3, 12, 16), (3, 3, 12, 16), (2, 3, 16, 32)):  # 16 x 32: rows of 128 scores
        x = image(*shape, seed=2)
        with torch.no_grad():
            expected = model(x)
        (found,) = run_onnx(tmp_path / 'm.onnx', x)
        assert found.shape == expected.shape and expected.abs().max() > 1e-2
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_onnx_shiftmax_is_exact_for_silent_queries(tmp_path):
    """n = 64: a logarithm in float32 may give g + 1 and halve the output."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = build_attention(
                dict(BSA, out_neuron=LIF, product='ternary'), embed_dims=4, num_heads=1, neuron=LIF
            )
            self.attention.out_neuron = nn.Identity()

        def forward(self, q, k, v):
            return self.attention(q, k, v)

    for side in (8, 16):
        q, k, v = (image(1, 1, 4, side, side, seed=seed) for seed in range(3))
        q[..., ::2] = 0
        model = Attention().eval()
        export_onnx(model, (q, k, v), tmp_path / 'a.onnx', dynamic=())
        (found,) = run_onnx(tmp_path / 'a.onnx', q, k, v)
        torch.testing.assert_close(found, model(q, k, v), rtol=0, atol=1e-5)
        silent = found[..., ::2]
        torch.testing.assert_close(
            silent, v.mean((-1, -2), keepdim=True).expand_as(silent), rtol=1e-5, atol=1e-6
        )


@pytest.mark.skipif(not compiler(), reason='there is no C++ compiler')
def test_a_compiled_package_predicts_as_torch_does(tmp_path):
    model, x = small(), image(2, 3, 12, 12, seed=1)
    export_aoti(model, (x,), tmp_path / 'm.pt2', dynamic=())
    found = torch._inductor.aoti_load_package(str(tmp_path / 'm.pt2'))(x)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(found.argmax(1), expected.argmax(1)) and expected.abs().max() > 1e-2


class Wide(nn.Module):
    """Bipolar attention of the ternary parts of x."""

    def forward(self, x):
        s = (x > 0.5).to(x.dtype) - (x < -0.5).to(x.dtype)
        return bipolar_attention(s, s, x)


@pytest.mark.parametrize('dynamic', [(), ('batch', 'height')], ids=['static', 'dynamic'])
@pytest.mark.parametrize('keys, channels', [(64, 24), (256, 45), (64, 64), (64, 115), (40, 130)])
def test_onnx_of_attention_counts_bits_in_windows(keys, channels, dynamic, tmp_path):
    """Every second query is silent, so that its sum is a power of two exactly; the bits are counted
    in 2 to 6 windows."""
    pytest.importorskip('onnxruntime')
    x = image(2, 2, keys, channels, seed=3)
    x[0, 0, :, : channels // 2] = 3 * x[0, 0, :1, : channels // 2]  # many equal keys
    x[:, :, ::2] *= 0.4 / x[:, :, ::2].abs().max()
    export_onnx(Wide(), (x,), tmp_path / 'wide.onnx', dynamic=dynamic)
    (found,) = run_onnx(tmp_path / 'wide.onnx', x)
    torch.testing.assert_close(found, Wide()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'attention, steps', [(None, 1), (dict(type='mmbsa.BipolarSelfAttention'), 2)]
)
def test_tracker_on_any_number_of_pairs(attention, steps, tmp_path):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmbsa.SDTrack',
            backbone=dict(
                type='mmbsa.ESpikeFormer',
                num_steps=steps,
                attention=attention,
                arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2, with_conv=False),
            ),
            head=dict(type='mmbsa.CentreHead', channels=8),
            crops=dict(template_size=32, search_size=64),
        )
    )
    model = settled(model).float()
    pair = image(steps, 1, 3, 32, 32), image(steps, 1, 3, 64, 64, seed=1)
    export_onnx(model, pair, tmp_path / 'm.onnx')
    export_torch(model, pair, tmp_path / 'm.pt2', plain=True)
    pair = image(steps, 3, 3, 32, 32, seed=2), image(steps, 3, 3, 64, 64, seed=3)
    with torch.no_grad():
        expected = model(dict(template=pair[0], search=pair[1]))
    names = 'pred_boxes', 'score_map', 'size_map', 'offset_map'
    loaded = torch.export.load(tmp_path / 'm.pt2').module()
    for found in (run_onnx(tmp_path / 'm.onnx', *pair), loaded(*pair)):
        for name, tensor in zip(names, found, strict=True):
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5)
    assert expected['score_map'].std() > 1e-3 and expected['backbone_feat'].std() > 1e-3


def test_mode_of_the_model_stays(tmp_path):
    model = small().train()
    model.stem.norm.eval()
    trace(model, (image(2, 3, 12, 12),))
    assert model.training and model.counts.norm.training and not model.stem.norm.training


class Branching(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


class Eigenvalues(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x)


@pytest.mark.parametrize('export', [export_torch, export_onnx, export_aoti])
def test_a_model_that_cannot_be_exported(export, tmp_path):
    with pytest.raises(ValueError, match='Branching cannot be exported'):
        export(Branching(), (image(2, 3),), tmp_path / 'm.bin')
    assert not list(tmp_path.iterdir())


def test_an_operator_that_onnx_lacks(tmp_path):
    with pytest.raises(ValueError, match='(?s)Eigenvalues cannot be translated to ONNX.*eig'):
        export_onnx(Eigenvalues(), (image(2, 3, 3),), tmp_path / 'm.onnx')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'inputs, kwargs, words',
    [
        ((), {}, 'example_inputs must be tensors'),
        ((np.zeros(3),), {}, "got \\['ndarray'\\]"),
        ((torch.zeros(2, 3, 8, 8),), dict(dynamic=('depth',)), 'among batch, height, width'),
        ((torch.zeros(2, 3, 8, 8),), dict(opset=11), 'opset must be at least 18, got 11'),
    ],
)
def test_bad_arguments(inputs, kwargs, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_onnx(small(), inputs, tmp_path / 'm.onnx', **kwargs)
    assert not list(tmp_path.iterdir())


def classifier(family, **kwargs):
    cls = MODELS.get(f'mmbsa.{family}')
    torch.manual_seed(0)
    return settled(MODELS.build(cls.classifier_cfg(cls.small_arch, 10, **kwargs))).float()


def segmentor():
    pytest.importorskip('mmseg')
    channels = (4, 8, 16, 24)
    torch.manual_seed(0)
    return settled(
        MODELS.build(
            dict(
                type='mmseg.EncoderDecoder',
                test_cfg=dict(mode='whole'),
                backbone=dict(
                    type='mmbsa.ESpikeFormer',
                    arch=MODELS.get('mmbsa.ESpikeFormer').small_arch,
                    attention=BSA,
                ),
                neck=dict(type='mmbsa.SpikeFPN', in_channels=channels, out_channels=8),
                decode_head=dict(
                    type='mmbsa.SpikeFPNHead',
                    in_channels=[8] * 4,
                    in_index=[0, 1, 2, 3],
                    channels=8,
                    feature_strides=(4, 8, 16, 32),
                    num_classes=5,
                ),
            )
        )
    ).float()


def detector():
    pytest.importorskip('mmdet')
    torch.manual_seed(0)
    channels, norm = (16, 24), dict(type='BN')
    return settled(
        MODELS.build(
            dict(
                type='mmdet.RetinaNet',
                backbone=dict(
                    type='mmbsa.ESpikeFormer',
                    arch=MODELS.get('mmbsa.ESpikeFormer').small_arch,
                    attention=BSA,
                    out_indices=(3, 4),
                ),
                neck=dict(
                    type='mmbsa.SpikeFPN', in_channels=channels, out_channels=8, norm_cfg=norm
                ),
                bbox_head=dict(
                    type='mmbsa.SpikeRetinaHead',
                    num_classes=3,
                    in_channels=8,
                    feat_channels=8,
                    stacked_convs=1,
                    norm_cfg=norm,
                    anchor_generator=dict(
                        type='mmdet.AnchorGenerator',
                        scales=[8],
                        ratios=[1.0],
                        strides=[16, 16],
                    ),
                ),
            )
        )
    ).float()


def test_detectors_give_what_their_heads_say(tmp_path):
    pytest.importorskip('onnxruntime')
    model = detector()
    export_onnx(model, (image(1, 3, 32, 32),), tmp_path / 'm.onnx')
    x = image(3, 3, 32, 32, seed=1)
    with torch.no_grad():
        scores, boxes = model(x, mode='tensor')
    found = run_onnx(tmp_path / 'm.onnx', x)
    assert len(found) == 4
    for a, b in zip(found, (*scores, *boxes)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert scores[0].shape == (1, 3, 3, 2, 2) and scores[0].std() > 1e-4  # (T, B, K, H, W)


def test_two_stage_detectors_give_maps_and_proposal_heads(tmp_path):
    """What mmdet's own proposals are made of: the neck's maps and the maps of the RPN head."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('mmdet')
    from mmengine.config import Config

    from mmbsa.apis.inference import build_model

    root = Path(__file__).parents[2]
    torch.manual_seed(0)
    model = settled(build_model(Config.fromfile(root / 'configs/bsa_detection_quickstart.py')))
    model, x = model.float(), image(2, 3, 64, 64, seed=1)
    export_onnx(model, (x,), tmp_path / 'm.onnx')
    with torch.no_grad():
        maps = model.extract_feat(x)
        scores, deltas = model.rpn_head(maps)
    found = run_onnx(tmp_path / 'm.onnx', x)
    assert len(found) == 3 * len(maps) == 12
    for a, b in zip(found, (*maps, *scores, *deltas)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert scores[0].shape == (1, 2, 3, 16, 16)  # (T, B, anchors, H, W)
    assert maps[0].std() > 1e-4


def photos(shared_path, size, number=8):
    """Normalised photos (number, 3, size, size)."""
    from PIL import Image

    folder = shared_path('data/imagenette128') / 'val'
    files = sorted(folder.rglob('*.[jJ][pP]*'))[::10][:number]
    assert len(files) == number
    pixels = np.stack(
        [np.asarray(Image.open(file).convert('RGB').resize((size, size))) for file in files]
    )
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 118) / 58


FAMILIES = {
    'ESpikeFormer-bsa': lambda: classifier('ESpikeFormer', attention=BSA),
    'Spikingformer': lambda: classifier('Spikingformer', num_steps=2),
    'SpikeDrivenTransformer': lambda: classifier('SpikeDrivenTransformer', num_steps=2),
    'QKFormer': lambda: classifier('QKFormer', num_steps=2),
    'segmentor': segmentor,
}


@pytest.mark.shared
@pytest.mark.parametrize('name', FAMILIES)
def test_onnx_predicts_on_photos_as_torch_does(name, shared_path, tmp_path):
    model, x = FAMILIES[name](), photos(shared_path, 32)
    export_onnx(model, (x[:2],), tmp_path / 'm.onnx')
    with torch.no_grad():
        expected = (
            model.encode_decode(x, [dict(img_shape=(32, 32))] * len(x))
            if name == 'segmentor'
            else model(x)
        )
    (found,) = run_onnx(tmp_path / 'm.onnx', x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(found.argmax(1), expected.argmax(1)) and expected.std() > 1e-3
