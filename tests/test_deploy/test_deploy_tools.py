"""The command lines of ``tools/deployment``, on a tiny classifier of photos."""

import sys

import numpy as np
import pytest
import tiny_tools
import torch
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmpretrain')
pytest.importorskip('onnxscript')
onnxruntime = pytest.importorskip('onnxruntime')
CONFIG = """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes={classes}, mean=[123.675, 116.28, 103.53],
                         std=[58.4, 57.1, 57.4], to_rgb=True)
model = dict(
    type='mmbsa.SpikingImageClassifier',
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', num_steps=2, out_indices=(-1,),
                  arch=dict(embed_dims=16, depth=1, num_heads=2)),
    head=dict(type='mmbsa.SpikingClsHead', num_classes={classes}))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)),
            dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=pipeline))
test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=pipeline))
test_evaluator = dict(type='Accuracy', topk=(1,))
"""


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Folder with a config, its checkpoint, the checkpoint of another model, photos of two classes
    and an empty folder."""
    from mmbsa.apis.inference import build_model

    folder = tmp_path_factory.mktemp('deploy')
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        pixels[..., index % 2] //= 4
        file = folder / 'photos' / 'ab'[index % 2] / f'{index}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    (folder / 'empty').mkdir()
    torch.manual_seed(0)
    for name, classes in (('own', 2), ('other', 5), ('softmax', 2)):
        text = CONFIG.format(classes=classes, data=str(folder / 'photos'))
        if name == 'softmax':
            text = text.replace(
                'num_steps=2,', "num_steps=2, attention=dict(type='mmbsa.SoftmaxAttention'),"
            )
        (folder / f'{name}.py').write_text(text)
        model = build_model(Config.fromfile(folder / f'{name}.py'))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # so that spikes reach the head
                module.bias.data.normal_(0.7, 0.5)
        torch.save(dict(state_dict=model.state_dict()), folder / f'{name}.pth')
    return folder


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process: what it prints, or what it ends with."""
    monkeypatch.syspath_prepend(str(tiny_tools.ROOT / 'tools' / 'deployment'))

    def run(name, *args, fails=False):
        if not fails:
            try:
                tiny_tools.run_tool(f'deployment/{name}.py', monkeypatch, *args)
            except SystemExit as end:
                assert not end.code, end.code
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as caught:
            tiny_tools.run_tool(f'deployment/{name}.py', monkeypatch, *args)
        assert str(caught.value.code).count('\n') == 0
        return str(caught.value.code)

    yield run
    for name in ('export', 'check', 'quantize'):
        sys.modules.pop(name, None)


SIZE = ('--size', 32, 32)


def test_export_then_check(files, tool):
    own, out = (files / 'own.py', files / 'own.pth'), files / 'own.onnx'
    assert 'format onnx' in tool('export', *own, '--out', out, *SIZE)
    words = tool('check', *own, out, '--images', files / 'photos', *SIZE)
    assert '6 photos' in words and 'equal predictions 100.0000%' in words
    words = tool('check', *own, out, '--images', files / 'empty', *SIZE, fails=True)
    assert words.startswith('error: ') and 'empty: there is no file that ends in' in words
    words = tool(
        'check',
        files / 'other.py',
        files / 'other.pth',
        out,
        '--images',
        files / 'photos',
        *SIZE,
        fails=True,
    )
    assert 'own.onnx is from another model' in words


RETINANET = """
default_scope = 'mmdet'
neuron = dict(type='mmbsa.IntegerNode', levels=4)
norm = dict(type='BN')
model = dict(
    type='RetinaNet', data_preprocessor=dict(type='DetDataPreprocessor', mean=[0.0], std=[1.0]),
    backbone=dict(type='mmbsa.ESpikeFormer', out_indices=(3, 4), num_steps=1, arch=dict(
        embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2)),
    neck=dict(type='mmbsa.SpikeFPN', in_channels=[16, 24], out_channels=8, norm_cfg=norm),
    bbox_head=dict(
        type='mmbsa.SpikeRetinaHead', num_classes=3, in_channels=8, feat_channels=8,
        stacked_convs=1, norm_cfg=norm, anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[16, 16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
    test_cfg=dict(nms_pre=100, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5),
                  max_per_img=20))
"""


def test_export_then_check_boxes(files, tool):
    pytest.importorskip('mmdet')
    from mmbsa.apis.inference import build_model

    config, out = files / 'boxes.py', files / 'boxes.onnx'
    config.write_text(RETINANET)
    model = build_model(Config.fromfile(config))
    torch.save(dict(state_dict=model.state_dict()), files / 'boxes.pth')
    tool('export', config, files / 'boxes.pth', '--out', out, '--boxes', *SIZE)
    args = (config, files / 'boxes.pth', out, '--images', files / 'photos', *SIZE)
    words = tool('check', *args, '--boxes')
    assert '6 photos' in words and 'equal predictions 100.0000%' in words
    assert 'Got: 6 Expected: 1' in tool('check', *args, fails=True)
    words = tool('export', files / 'own.py', '--out', files / 'never.onnx', '--boxes', fails=True)
    assert '--boxes is for detectors, the model is a SpikingImageClassifier' in words
    assert not list(files.glob('*never*'))


def test_a_checkpoint_of_another_model(files, tool):
    out = files / 'never.onnx'
    for name, more in (('export', ()), ('quantize', ('--data', files / 'photos'))):
        args = (files / 'own.py', files / 'other.pth', '--out', out, *more, *SIZE)
        words = tool(name, *args, fails=True)
        assert 'is from another model than' in words and 'head.' in words
    assert not list(files.glob('*never*'))


def test_quantize_writes_graph_and_report(files, tool):
    out, report = files / 'integer.onnx', files / 'report.md'
    own = (files / 'own.py', files / 'own.pth', '--data', files / 'photos')
    words = tool('quantize', *own, '--out', out, '--report', report, '--fine-tune', 2)
    assert 'fine-tuning: 2 steps' in words and 'bit-equal to the reference' in words
    assert 'multiplications: backbone.' in words and '| accuracy/top1 |' in words
    assert 'predictions that differ: ' in words
    pixels = onnxruntime.InferenceSession(str(out)).get_inputs()[0]
    assert pixels.name == 'pixels' and pixels.shape == [4, 3, 32, 32]
    assert 'accumulator' in report.read_text()


def test_quantize_judges_int8_on_samples_of_all_classes(files, tool):
    out = files / 'int8.onnx'
    own = (files / 'own.py', files / 'own.pth', '--data', files / 'photos')
    words = tool('quantize', *own, '--out', out, '--format', 'int8', '--samples', 2)
    assert 'static int8 graph of onnxruntime' in words and '| accuracy/top1 |' in words
    assert '2 samples; predictions that differ: ' in words
    x = onnxruntime.InferenceSession(str(out)).get_inputs()[0]
    assert x.name == 'input_0' and x.type == 'tensor(float)'
    from quantize import batches

    cfg = Config.fromfile(files / 'own.py')
    (batch,) = batches(cfg, 'test', 4, samples=2)
    assert [int(sample.gt_label) for sample in batch['data_samples']] == [0, 1]


def test_quantize_refuses(files, tool):
    out = files / 'never.onnx'
    own = (files / 'own.py', files / 'own.pth', '--out', out)
    words = tool('quantize', *own, '--data', files / 'empty', fails=True)
    assert 'empty: there is no file that ends in' in words
    words = tool('quantize', *own, '--data', files / 'photos', '--size', 64, 64, fails=True)
    assert 'samples must be uint8 maps of (3, 64, 64), got [(3, 32, 32)]' in words
    softmax = (files / 'softmax.py', files / 'softmax.pth', '--out', out)
    words = tool('quantize', *softmax, '--data', files / 'photos', fails=True)
    assert 'softmax divides and takes exponentials' in words
    assert not list(files.glob('*never*'))


def test_tools_check_files_and_numbers_first(files, tool, capsys):
    out = files / 'never.onnx'
    own, photos = (files / 'own.py', files / 'own.pth'), ('--data', files / 'photos')
    before = (files / 'own.pth').read_bytes()
    for option in ('--out', '--report'):
        words = tool('quantize', *own, *photos, option, files / 'own.pth', fails=True)
        assert f'{option} {files / "own.pth"} would overwrite an input file' in words
    assert (files / 'own.pth').read_bytes() == before
    damaged = files / 'damaged.pth'
    damaged.write_bytes(before[: len(before) // 2])
    for name, more in (('export', ()), ('quantize', photos)):
        words = tool(name, files / 'own.py', damaged, '--out', out, *more, *SIZE, fails=True)
        assert 'damaged.pth is truncated or damaged' in words
        for option, value in (('--size', -3), ('--size', 0)):
            code = tool(name, *own, '--out', out, *more, option, value, 32, fails=True)
            assert code == '2' and f'at least 1, got {value}' in capsys.readouterr().err
    for option in ('--number', '--batch', '--samples'):
        code = tool('quantize', *own, *photos, option, 0, fails=True)
        assert code == '2' and 'at least 1, got 0' in capsys.readouterr().err
    assert not list(files.glob('*never*'))


def test_benchmark_prints_a_row_per_runtime(files, monkeypatch, tool, capsys):
    """In this process, because new ones take seconds to import everything."""
    import multiprocessing

    class Pool:
        def __init__(self, *args, **kwargs):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731
        apply = staticmethod(lambda function, args: function(*args))

    context = type('Context', (), dict(Pool=Pool))
    monkeypatch.setattr(multiprocessing, 'get_context', lambda kind: context)
    words = tool(
        'benchmark',
        files / 'own.py',
        *SIZE,
        '--batches',
        2,
        '--runs',
        2,
        '--runtimes',
        'torch',
        'onnxruntime',
        'int8',
        'integer',
    )
    rows = [line.split('|') for line in words.splitlines() if line.startswith('| own ')]
    assert [row[3].strip() for row in rows] == ['torch', 'onnxruntime', 'int8', 'integer']
    assert all(float(cell) > 0 for row in rows for cell in row[4:7])
    words = tool(
        'benchmark',
        files / 'softmax.py',
        *SIZE,
        '--batches',
        1,
        '--runs',
        1,
        '--runtimes',
        'integer',
        fails=True,
    )
    assert words == '1' and 'softmax' in capsys.readouterr().out
