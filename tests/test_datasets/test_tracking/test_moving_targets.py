"""The generated set and its model of an event camera."""

import numpy as np
import pytest

from mmbsa.datasets.tracking import MovingTargets
from mmbsa.datasets.tracking.event_camera import EventCamera
from mmbsa.datasets.tracking.moving_targets import Scene, _render


def scene(**changes):
    return Scene(
        **{
            **dict(
                seed=0,
                index=3,
                size=(48, 64),
                length=6,
                steps=1,
                clutter=2,
                clutter_contrast=0.4,
                threshold_noise=0.15,
                noise_rate=0.5,
            ),
            **changes,
        }
    )


def camera(**kwargs):
    picture = np.full((4, 5), 0.5)
    return picture, EventCamera(
        picture,
        np.random.default_rng(0),
        **{**dict(threshold_noise=0, noise_rate=0, epsilon=0), **kwargs},
    )


def test_pixels_fire_once_per_threshold_of_log_intensity():
    picture, eye = camera(threshold=0.2)
    assert len(eye.see(picture, 0, 100)) == 0
    brighter = picture.copy()
    brighter[1, 2] *= np.exp(0.5)  # two and a half thresholds
    events = eye.see(brighter, 100, 200)
    assert events[['x', 'y', 'p']].tolist() == [(2, 1, 1)] * 2
    assert ((events['t'] >= 100) & (events['t'] < 200)).all() and (np.diff(events['t']) >= 0).all()
    # half a threshold is remembered: 0.1 more of log intensity completes the third
    brighter[1, 2] *= np.exp(0.1001)
    assert len(eye.see(brighter, 200, 300)) == 1
    brighter[1, 2] *= np.exp(-0.4002)
    assert eye.see(brighter, 300, 400)['p'].tolist() == [0, 0]


def test_each_event_of_a_pixel_has_an_interval_of_its_own():
    picture, eye = camera(threshold=0.2)
    events = eye.see(picture * np.exp(1.0001), 1000, 6000)  # five thresholds
    for x in range(5):
        for y in range(4):
            times = events['t'][(events['x'] == x) & (events['y'] == y)]
            assert ((times - 1000) // 1000).tolist() == [0, 1, 2, 3, 4]
    assert len(np.unique(events['t'])) > 50, 'pixels do not emit at the same times'


def test_noise_spreads_thresholds_and_fires_at_random():
    picture, eye = camera(threshold_noise=0.2)
    assert eye.thresholds.std() > 0.01 and eye.thresholds.min() > 0
    picture, eye = camera(noise_rate=50)
    events = eye.see(picture, 0, 1_000_000)
    assert 700 < len(events) < 1300  # 20 pixels at 50 per second
    assert set(events['p'].tolist()) == {0, 1}
    with pytest.raises(ValueError, match='threshold'):
        camera(threshold=0)


def test_scenes_are_the_same_everywhere_and_differ():
    first = _render.__wrapped__(scene())
    np.testing.assert_array_equal(first, _render.__wrapped__(scene()))
    assert first.shape == (6, 1, 48, 64, 3) and first.dtype == np.uint8
    assert not np.array_equal(first, _render.__wrapped__(scene(index=4)))
    assert not np.array_equal(first, _render.__wrapped__(scene(seed=1)))


def test_boxes_surround_the_target():
    alone = scene(clutter=0, noise_rate=0, length=8)
    boxes, frames = alone.boxes(), _render.__wrapped__(alone)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= [64, 48]).all()
    for (x, y, w, h), frame in list(zip(boxes, frames))[1:]:
        rows, columns = np.nonzero(frame[0, :, :, 1:].any(-1))
        assert len(rows)
        inside = (columns >= x - 3) & (columns <= x + w + 3) & (rows >= y - 3) & (rows <= y + h + 3)
        assert inside.mean() == 1


def test_contrast_of_clutter_leaves_path_and_target_unchanged():
    faint, full = scene(clutter_contrast=0.0), scene(clutter_contrast=1.0)
    np.testing.assert_array_equal(faint.boxes(), full.boxes())
    objects = [s.objects(np.random.default_rng((s.seed, s.index))) for s in (faint, full)]
    assert all(np.ptp(thing.texture) == 0 for thing in objects[0][:-1])
    assert all(np.ptp(thing.texture) > 0.5 for thing in objects[1])
    np.testing.assert_array_equal(objects[0][-1].texture, objects[1][-1].texture)


def test_sub_frames_share_the_events_of_a_frame():
    whole = _render.__wrapped__(scene(threshold_noise=0, noise_rate=0))
    parts = _render.__wrapped__(scene(threshold_noise=0, noise_rate=0, steps=2))
    assert parts.shape == (6, 2, 48, 64, 3)
    assert parts[..., 1:].astype(int).sum() == pytest.approx(
        whole[..., 1:].astype(int).sum(), rel=0.2
    )


def test_dataset_lists_scenes_and_refuses_nonsense():
    data = MovingTargets(length=3, frames=22, size=(48, 64), split='val', test_mode=True)
    assert len(data) == 3 and data.get_data_info(2)['gt_boxes'].shape == (22, 4)
    assert data.get_data_info(0)['frames'][4].shape == (1, 48, 64, 3)
    for wrong in (
        dict(split='all'),
        dict(length=0),
        dict(size=(20, 64)),
        dict(clutter=-1),
        dict(clutter_contrast=1.5),
    ):
        with pytest.raises(ValueError, match='MovingTargets'):
            MovingTargets(**wrong)
