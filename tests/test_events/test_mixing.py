"""Masks and mixed samples."""

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev

SIZE = (7, 9)


def events_of(count=200, seed=0, span=1000):
    return write.some_events(count, SIZE, seed, span, 50)


@pytest.mark.parametrize('share', [0.0, 0.3, 0.5, 1.0])
def test_mixing_masks_have_their_share(share):
    for seed in range(5):
        mask = ev.gaussian_mask((4, 16, 20), share, np.random.default_rng(seed))
        assert mask.shape == (4, 16, 20) and mask.sum() == round(share * mask.size)
        box = ev.box_mask((4, 16, 20), share, np.random.default_rng(seed))
        assert box.mean() <= share + 0.11 and (box == box[:1]).all()
    assert not np.array_equal(
        ev.gaussian_mask((4, 16, 20), 0.5, np.random.default_rng(1)),
        ev.gaussian_mask((4, 16, 20), 0.5, np.random.default_rng(2)),
    )
    with pytest.raises(ValueError, match='share'):
        ev.gaussian_mask((4, 16, 20), 1.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match='shape'):
        ev.box_mask((16, 20), 0.5, np.random.default_rng(0))


def test_a_gaussian_mask_moves_in_time():
    masks = [ev.gaussian_mask((8, 16, 16), 0.4, np.random.default_rng(seed)) for seed in range(8)]
    assert all((mask != mask[:1]).any() for mask in masks)


def test_mixed_labels_weigh_events():
    one, two = (
        ev.integrate(events_of(count, seed), SIZE, 'number', 4)
        for count, seed in ((300, 1), (50, 2))
    )
    mask = ev.gaussian_mask((4, *SIZE), 0.5, np.random.default_rng(0))
    mixed, share = ev.mix_frames(one, two, mask)
    assert share == pytest.approx((two * mask[:, None]).sum() / mixed.sum()) and share < 0.4
    assert (mixed == np.where(mask[:, None], two, one)).all()
    assert ev.mix_frames(one * 0, two * 0, mask)[1] == mask.mean()
    with pytest.raises(ValueError, match='do not fit'):
        ev.mix_frames(one, two[:2], mask)
