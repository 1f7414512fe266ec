"""Farthest point sampling and neighbours against loops that read like their definitions."""

import pytest
import torch

from mmbsa.models.points.geometry import (
    farthest_points,
    group,
    nearest_points,
    offsets,
    once_for_equal_steps,
    take,
)


def clouds(batch=3, total=17, seed=0):
    return torch.randn(batch, total, 3, generator=torch.Generator().manual_seed(seed))


def by_definition(xyz, count, first=0):
    """Of one cloud: the point with the largest distance to the nearest point taken so far."""
    taken = [first]
    while len(taken) < count:
        distance = torch.stack([((xyz - xyz[i]) ** 2).sum(1) for i in taken]).amin(0)
        distance[taken] = -1
        taken.append(int(distance.argmax()))
    return taken


@pytest.mark.parametrize('count', [1, 5, 17])
def test_farthest_points_follow_their_definition(count):
    xyz = clouds()
    assert farthest_points(xyz, count).tolist() == [by_definition(cloud, count) for cloud in xyz]


def test_farthest_points_take_no_point_twice_where_points_coincide():
    xyz = torch.zeros(2, 9, 3)
    assert farthest_points(xyz, 9).tolist() == [list(range(9))] * 2


def test_random_start_draws_the_first_point_alone():
    torch.manual_seed(0)
    xyz = clouds(batch=20)
    found = farthest_points(xyz, 6, random_start=True).tolist()
    assert len({row[0] for row in found}) > 3
    assert found == [by_definition(cloud, 6, row[0]) for cloud, row in zip(xyz, found)]


@pytest.mark.parametrize('count', [0, 18])
def test_farthest_points_want_a_count_within_the_cloud(count):
    with pytest.raises(ValueError, match=r'1\.\.17'):
        farthest_points(clouds(), count)


def test_nearest_points_are_those_of_a_full_sort():
    xyz = clouds()
    found = nearest_points(xyz[:, :5], xyz, 4)
    expected = torch.cdist(xyz[:, :5].double(), xyz.double()).argsort(dim=2)[..., :4]
    assert torch.equal(found, expected) and torch.equal(found[..., 0], torch.arange(5).expand(3, 5))
    assert nearest_points(xyz, xyz, 40).shape == (3, 17, 17)


def test_take_and_group_read_the_same_rows():
    points = torch.randn(2, 3, 7, 5)
    index = torch.randint(7, (2, 3, 4, 6))
    rows = torch.stack(
        [torch.stack([points[t, b][index[t, b]] for b in range(3)]) for t in range(2)]
    )
    assert torch.equal(take(points, index), rows)
    maps = points.transpose(2, 3).unsqueeze(-1)
    assert torch.equal(group(maps, index), rows.permute(0, 1, 4, 2, 3))
    xyz, centres = points[..., :3], torch.randn(2, 3, 4, 3)
    expected = centres.unsqueeze(3) - rows[..., :3]
    assert torch.equal(offsets(centres, xyz, index), expected.permute(0, 1, 4, 2, 3))


def test_equal_steps_are_searched_once_and_stay_one_memory():
    cloud, calls = clouds().expand(4, 3, 17, 3), []

    def search(xyz):
        calls.append(xyz.shape)
        return farthest_points(xyz, 5)

    index = once_for_equal_steps(search, cloud)
    taken = take(cloud, index)
    assert calls == [(3, 17, 3)] and index.shape == (4, 3, 5)
    assert index.stride(0) == taken.stride(0) == 0
    apart = once_for_equal_steps(search, cloud.contiguous())
    assert torch.equal(apart, index) and torch.equal(take(cloud.contiguous(), apart), taken)
