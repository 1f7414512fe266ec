"""Pipeline steps of clouds: what they change and what they keep."""

import numpy as np
import pytest

from mmbsa.registry import TRANSFORMS


def cloud(total=50):
    points = np.random.default_rng(0).normal(size=(total, 6)).astype(np.float32)
    points[:, 3:] /= np.linalg.norm(points[:, 3:], axis=1, keepdims=True)
    return points


def apply(points, seed=0, **cfg):
    np.random.seed(seed)
    before = points.copy()
    out = TRANSFORMS.build(cfg)(dict(points=points))['points']
    assert np.array_equal(points, before), 'inputs are not changed'
    assert out.dtype == np.float32
    return out


def distances(points):
    return np.linalg.norm(points[:, None, :3] - points[None, :, :3], axis=2)


@pytest.mark.parametrize('axis', ['x', 'y', 'z', 'any'])
def test_rotation_keeps_distances_and_turns_normals_alike(axis):
    points = cloud()
    out = apply(points, type='mmbsa.RotatePoints', axis=axis)
    np.testing.assert_allclose(distances(out), distances(points), atol=1e-5)
    np.testing.assert_allclose(
        (out[:, :3] * out[:, 3:]).sum(1), (points[:, :3] * points[:, 3:]).sum(1), atol=1e-5
    )
    assert not np.allclose(out, points)
    volume = np.linalg.det(out[:3, :3]) / np.linalg.det(points[:3, :3])
    assert volume == pytest.approx(1, abs=1e-4), 'no mirror image'
    if axis != 'any':
        np.testing.assert_allclose(
            out[:, 'xyz'.index(axis)], points[:, 'xyz'.index(axis)], atol=1e-6
        )


def test_dropped_points_become_the_first_one():
    points = cloud(2000)
    out = apply(points, type='mmbsa.DropPoints', max_ratio=0.5)
    dropped = (out != points).any(1)
    assert 0 < dropped.mean() <= 0.5 and np.array_equal(
        out[dropped], np.repeat(points[:1], dropped.sum(), 0)
    )


def test_shuffle_permutes():
    points = cloud()
    out = apply(points, type='mmbsa.ShufflePoints')
    assert not np.array_equal(out, points)
    assert np.array_equal(np.sort(out, axis=0), np.sort(points, axis=0))


def test_scale_shift_and_jitter_stay_within_their_limits():
    points = cloud()
    factor = apply(points, type='mmbsa.ScalePoints')[:, :3] / points[:, :3]
    assert np.ptp(factor) < 1e-5 and 0.85 <= factor.mean() <= 1.15
    factor = apply(points, type='mmbsa.ScalePoints', per_axis=True)[:, :3] / points[:, :3]
    assert np.ptp(factor, axis=0).max() < 1e-5 and np.ptp(factor.mean(0)) > 1e-3
    moved = apply(points, type='mmbsa.ShiftPoints')[:, :3] - points[:, :3]
    assert np.ptp(moved, axis=0).max() < 1e-5 and 0 < np.abs(moved).max() <= 0.2
    noise = apply(points, type='mmbsa.JitterPoints', sigma=0.1, clip=0.05) - points
    assert np.abs(noise).max() <= 0.0501 and noise[:, :3].std() > 0.01 and not noise[:, 3:].any()


def test_scaled_normals_stay_at_right_angles_to_the_surface():
    plane = np.random.default_rng(1).normal(size=(20, 3))
    plane[:, 2] = plane[:, 0]
    points = np.concatenate([plane, np.tile([0.5**0.5, 0, -(0.5**0.5)], (20, 1))], 1).astype(
        np.float32
    )
    out = apply(points, type='mmbsa.ScalePoints', low=0.5, high=2.0, per_axis=True)
    np.testing.assert_allclose((out[:, :3] * out[:, 3:]).sum(1), 0, atol=1e-5)


def test_sample_takes_the_first_or_random_points():
    points = cloud()
    assert np.array_equal(
        apply(points, type='mmbsa.SamplePoints', num_points=8, channels=3), points[:8, :3]
    )
    drawn = apply(points, type='mmbsa.SamplePoints', num_points=50, order='random')
    assert np.array_equal(np.sort(drawn, 0), np.sort(points, 0)) and not np.array_equal(
        drawn, points
    )
    assert apply(points, type='mmbsa.SamplePoints', num_points=70, order='random').shape == (70, 6)


@pytest.mark.parametrize(
    'cfg, sample, message',
    [
        (dict(type='mmbsa.SamplePoints', num_points=51), dict(points=cloud()), 'num_points=51'),
        (
            dict(type='mmbsa.SamplePoints', num_points=5, channels=7),
            dict(points=cloud()),
            'channels=7',
        ),
        (dict(type='mmbsa.ShufflePoints'), {}, 'needs points'),
        (dict(type='mmbsa.LoadPoints'), {}, 'points_path'),
        (dict(type='mmbsa.PackPoints'), dict(points=np.zeros(3)), r'\(P, d\)'),
    ],
)
def test_samples_that_do_not_fit_are_named(cfg, sample, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(cfg)(sample)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='mmbsa.SamplePoints', order='last'),
        dict(type='mmbsa.DropPoints', max_ratio=2),
        dict(type='mmbsa.ScalePoints', low=0),
        dict(type='mmbsa.RotatePoints', axis='w'),
    ],
)
def test_wrong_arguments_are_named(cfg):
    argument = next(key for key in cfg if key != 'type')
    with pytest.raises(ValueError, match=argument):
        TRANSFORMS.build(cfg)
