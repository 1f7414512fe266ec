"""The overlay hook, alone and under a real runner with mmseg's own switches."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.seg
META = dict(classes=('a', 'b'), palette=[[255, 0, 0], [0, 0, 255]])


def sample(name, size=(40, 30), truth=True, flip=False):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    out = SegDataSample(metainfo=dict(img_path=f'somewhere/{name}.jpg', flip=flip))
    out.pred_sem_seg = PixelData(data=torch.ones(1, *size, dtype=torch.int64))
    if truth:
        out.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.uint8))
    return out


def runner(work_dir, **cfg):
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=META)))
    return SimpleNamespace(
        iter=7,
        work_dir=str(work_dir),
        cfg=cfg,
        visualizer=SimpleNamespace(),
        val_loop=loop,
        test_loop=loop,
    )


def batch(number, size=(40, 30)):
    return dict(
        inputs=[torch.full((3, *size), 9 * i, dtype=torch.uint8) for i in range(number)],
        data_samples=[sample(str(i)) for i in range(number)],
    )


def build(**kwargs):
    from mmbsa.registry import HOOKS

    return HOOKS.build(dict(type='mmbsa.SegOverlayHook', **kwargs))


def files(root):
    return sorted(
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
    )


def test_counts_intervals_and_folders(tmp_path):
    hook, run = build(max_images=3, interval=2), runner(tmp_path)
    for _ in range(2):  # the count starts anew in every validation
        hook.before_val_epoch(run)
        for index in range(4):
            hook.after_val_iter(run, index, batch(1), [sample(f'v{index}')])
    hook.before_test_epoch(run)
    hook.after_test_iter(run, 0, batch(5), [sample(f't{index}', truth=False) for index in range(5)])
    assert files(tmp_path) == [f'overlays/test/t{i}.png' for i in range(3)] + [
        'overlays/val_iter_000007/v0.png',
        'overlays/val_iter_000007/v2.png',
    ]


def test_show_dir_takes_every_test_picture(tmp_path):
    hook, run = (
        build(max_images=1),
        runner(tmp_path / 'work', visualizer=dict(save_dir=str(tmp_path / 'shown'))),
    )
    hook.before_test_epoch(run)
    hook.after_test_iter(run, 0, batch(3), [sample(str(index)) for index in range(3)])
    assert files(tmp_path) == [f'shown/test/{i}.png' for i in range(3)]


def test_draw_false_draws_nothing(tmp_path):
    hook, run = build(draw=False), runner(tmp_path)
    hook.after_val_iter(run, 0, batch(1), [sample('v')])
    hook.after_test_iter(run, 0, batch(1), [sample('t')])
    assert files(tmp_path) == []


def test_show_opens_a_window(tmp_path):
    shown = []
    run = runner(tmp_path)
    run.visualizer.show = lambda picture, win_name, wait_time: shown.append(
        (picture.shape[2], win_name, wait_time)
    )
    build(show=True, wait_time=2.0).after_test_iter(run, 0, batch(1), [sample('t')])
    assert shown == [(3, 't', 2.0)]


def test_input_image_is_rgb_at_the_size_of_the_prediction():
    from mmbsa.visualization.overlay_hook import input_image

    blue = torch.zeros(3, 20, 10, dtype=torch.uint8)
    blue[0] = 200  # loaders give BGR
    image = input_image(dict(inputs=[blue], data_samples=[None]), 0, (40, 30))
    assert image.shape == (40, 30, 3) and (image == (0, 0, 200)).all()


def test_input_image_under_test_time_augmentation():
    from mmbsa.visualization.overlay_hook import input_image

    sizes, flips = [(10, 10), (40, 30), (50, 40)], [False, False, True]
    inputs = [
        [torch.full((3, *size), index, dtype=torch.uint8)] for index, size in enumerate(sizes)
    ]
    samples = [[sample('x', flip=flip)] for flip in flips]
    assert (input_image(dict(inputs=inputs, data_samples=samples), 0, (40, 30)) == 1).all()


@pytest.mark.parametrize('kwargs', [dict(interval=0), dict(max_images=0), dict(opacity=2.0)])
def test_bad_arguments_name_the_key(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        build(**kwargs)


def test_picture_shows_truth_and_prediction(tmp_path):
    import cv2

    build(opacity=1.0).after_val_iter(
        runner(tmp_path), 0, batch(1, (256, 256)), [sample('v', (256, 256))]
    )
    picture = cv2.imread(str(tmp_path / 'overlays/val_iter_000007/v.png'))[..., ::-1]
    assert np.array_equal(picture[150, [100, 362, 624]], [[0, 0, 0], [255, 0, 0], [0, 0, 255]])
