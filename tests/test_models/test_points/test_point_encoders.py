"""What the point encoders show in each step."""

import pytest
import torch

from mmbsa.models.points import (
    PointDirectEncoder,
    PointQueueEncoder,
    PointRandomEncoder,
    PointScanEncoder,
)


def clouds(total=24, width=6):
    return torch.randn(2, total, width, generator=torch.Generator().manual_seed(3))


def rows(cloud):
    return {tuple(point) for point in cloud.tolist()}


@pytest.mark.parametrize('steps, samples, moved', [(4, 12, 4), (2, 12, 12), (3, 20, 2), (1, 4, 0)])
def test_queue_moves_through_the_cloud(steps, samples, moved):
    points = clouds()
    out = PointQueueEncoder(steps, samples)(points)
    size = max(24 // steps, samples)
    assert out.shape == (steps, 2, size, 6)
    for sample in range(2):
        seen = set()
        for step in range(steps):
            now = rows(out[step, sample])
            assert len(now) == size and now <= rows(points[sample])
            new = now if not step else rows(out[step, sample, size - moved :])
            assert not new & seen, 'what enters the queue was not used before'
            seen |= new
            if step:
                assert torch.equal(out[step, sample, : size - moved], out[step - 1, sample, moved:])


def test_queue_repeats_a_step_when_no_points_are_left():
    out = PointQueueEncoder(3, 24)(clouds())
    assert torch.equal(out[0], out[1]) and torch.equal(out[1], out[2])


def test_official_queue_may_hold_a_point_twice():
    assert len(rows(PointQueueEncoder(4, 12, official_quirks=True)(clouds())[-1, 0])) < 12


def test_random_start_is_for_training():
    encoder = PointQueueEncoder(2, 12, random_start=True)
    torch.manual_seed(0)
    assert not torch.equal(encoder(clouds()), encoder(clouds()))
    encoder.eval()
    assert torch.equal(encoder(clouds()), encoder(clouds()))
    assert torch.equal(encoder(clouds())[0, :, 0], clouds()[:, 0])


def test_scan_cuts_slabs_and_begins_again():
    points = clouds()
    out = PointScanEncoder(3, 10)(points)
    assert out.shape == (3, 2, 10, 6)
    order = points[0, :, 0].sort().values
    assert torch.equal(out[:, 0, :, 0].flatten(), torch.cat([order, order])[:30])


def test_random_takes_turns():
    points = clouds()
    assert torch.equal(PointRandomEncoder(4)(points).transpose(0, 1).flatten(1, 2), points)
    with pytest.raises(ValueError, match='num_steps=5 does not divide'):
        PointRandomEncoder(5)(points)


def test_direct_is_one_memory():
    out = PointDirectEncoder(4)(clouds())
    assert out.shape == (4, 2, 24, 6) and out.stride(0) == 0


@pytest.mark.parametrize(
    'encoder', [PointDirectEncoder, PointQueueEncoder, PointScanEncoder, PointRandomEncoder]
)
def test_gradients_reach_the_points(encoder):
    points = clouds().requires_grad_()
    kwargs = {} if encoder in (PointDirectEncoder, PointRandomEncoder) else dict(num_samples=12)
    encoder(num_steps=2, **kwargs)(points).sum().backward()
    assert (points.grad > 0).all()


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: PointQueueEncoder(0), 'num_steps'),
        (lambda: PointQueueEncoder(2, 512)(clouds()), 'num_samples=512'),
        (lambda: PointDirectEncoder(2)(torch.zeros(2, 24, 2)), 'd >= 3'),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
