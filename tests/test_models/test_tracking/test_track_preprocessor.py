"""Stacking and normalising crops."""

import numpy as np
import pytest
import torch
import tracking_fixtures

from mmbsa.models.tracking import TrackDataPreprocessor

FIXTURES = tracking_fixtures.find('sdtrack_preproc', '.npz')
FELT = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES)
def test_normalisation_equals_the_official_one(path):
    _, arrays = tracking_fixtures.load(path)
    crop = torch.from_numpy(np.ascontiguousarray(arrays['norm.input'].transpose(2, 0, 1)))
    torch.testing.assert_close(
        TrackDataPreprocessor().normalize(crop),
        torch.from_numpy(arrays['norm.raw']),
        rtol=0,
        atol=0,
    )
    felt = TrackDataPreprocessor(**FELT).normalize(crop)
    for key in ('norm.felt_train', 'norm.felt_test'):
        torch.testing.assert_close(
            felt, torch.from_numpy(arrays[key]).reshape(felt.shape), rtol=1e-5, atol=1e-6
        )


def test_batches_are_time_major():
    inputs = dict(
        template=[torch.full((2, 3, 4, 4), b, dtype=torch.uint8) for b in range(5)],
        search=[torch.zeros(2, 3, 8, 8, dtype=torch.uint8)] * 5,
    )
    out = TrackDataPreprocessor()(dict(inputs=inputs, data_samples=None), True)['inputs']
    assert out['template'].shape == (2, 5, 3, 4, 4) and out['search'].shape == (2, 5, 3, 8, 8)
    assert (
        out['template'][1, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
        and out['template'].dtype == torch.float32
    )


def test_mean_and_std_go_together():
    with pytest.raises(ValueError, match='mean and std must both be None'):
        TrackDataPreprocessor(mean=[0.0, 0.0, 0.0])
