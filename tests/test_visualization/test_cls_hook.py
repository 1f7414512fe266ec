"""The hook of classifiers: photos, grey pictures, sequences and event frames, with what they are
and are taken for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmbsa.visualization import ClsPictureHook, draw_sample

structures = pytest.importorskip('mmpretrain.structures')


def sample(path, label=1, score=(0.2, 0.7, 0.1)):
    out = structures.DataSample(metainfo=dict(img_path=path))
    return out.set_gt_label(label).set_pred_label(1).set_pred_score(torch.tensor(score))


@pytest.mark.parametrize(
    'shape', [(3, 20, 30), (1, 20, 30), (1, 1, 64), (4, 2, 20, 24), (2, 20, 30)]
)
@pytest.mark.parametrize('classes', [None, ('a', 'b', 'c')])
def test_draw_sample_takes_every_input(shape, classes):
    inputs = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    picture = draw_sample(inputs, sample('x.jpg'), classes)
    bare = draw_sample(inputs, structures.DataSample(), classes)
    assert (
        picture.dtype == np.uint8
        and picture.shape[0] == bare.shape[0] + 44
        and max(bare.shape) >= 224
    )


def test_draw_sample_knows_the_order_of_the_channels():
    inputs = np.zeros((3, 4, 4), np.float32)
    inputs[0] = 200
    first = [
        draw_sample(inputs, structures.DataSample(), bgr=bgr)[0, 0].tolist()
        for bgr in (True, False)
    ]
    assert first == [[0, 0, 200], [200, 0, 0]]


def runner(**shown):
    dataset = SimpleNamespace(metainfo=dict(classes=('a', 'b', 'c')))
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    visualizer = SimpleNamespace(
        **{name: lambda *args, name=name, **kwargs: shown[name].append(args) for name in shown}
    )
    return SimpleNamespace(
        test_loop=loop,
        val_loop=loop,
        train_loop=None,
        iter=7,
        epoch=0,
        visualizer=visualizer,
        model=SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=False)),
    )


def batch(size, tta=False):
    inputs = torch.zeros(size, 3, 8, 8)
    return dict(inputs=[list(inputs), list(inputs)] if tta else inputs)


@pytest.mark.parametrize('tta', [False, True])
def test_interval_counts_over_batches(tmp_path, tta):
    hook, run = ClsPictureHook(enable=True, interval=3, out_dir=str(tmp_path)), runner()
    for _ in range(2):
        hook.before_test_epoch(run)
        for index in range(4):
            outputs = [sample(f'd/{2 * index + i}.png') for i in range(2)]
            hook.after_test_iter(run, index, batch(2, tta), outputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0_0.png', '3_0.png', '6_0.png']
    hook.before_val_epoch(run)
    hook.after_val_iter(run, 0, batch(1), [sample('d/0.png')])
    assert (tmp_path / '0_7.png').exists()


def test_pictures_go_to_the_backends_and_a_window(tmp_path):
    seen = dict(add_image=[], show=[])
    hook, run = ClsPictureHook(enable=True, interval=1, show=True), runner(**seen)
    hook.after_test_iter(run, 0, batch(2), [sample('d/0.png'), sample('e/0.png')])
    assert [args[0] for args in seen['add_image']] == ['0', '0_1'] and len(seen['show']) == 2


def test_it_is_off_by_default_and_refuses_an_interval_of_zero(tmp_path):
    hook = ClsPictureHook(out_dir=str(tmp_path))
    hook.after_test_iter(runner(), 0, batch(1), [sample('a.png')])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='interval'):
        ClsPictureHook(interval=0)
