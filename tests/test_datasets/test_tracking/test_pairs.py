"""Causal pairs: their distribution, and the pipeline around them against the official one."""

import numpy as np
import pytest
import tiny_tracking
import torch
import tracking_fixtures

from mmbsa.datasets.tracking import TrackingDataset
from mmbsa.datasets.tracking.pairs import can_train, draw_pair, visible_frames
from mmbsa.datasets.transforms import CropTrackPair

FIXTURES = tracking_fixtures.find('sdtrack_preproc', '.npz')
PIPELINE = [
    dict(type='mmbsa.LoadTrackPair'),
    dict(type='mmbsa.CropTrackPair', size=(32, 64)),
    dict(type='mmbsa.PackTrackInputs'),
]


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES)
def test_pairs_equal_the_official_processing(path):
    meta, arrays = tracking_fixtures.load(path)
    rules = meta['pair_settings']
    both = ('template', 'search')
    crop = CropTrackPair(
        size=[rules['output_sz'][n] for n in both],
        factor=[rules['search_area_factor'][n] for n in both],
        centre_jitter=[rules['center_jitter'][n] for n in both],
        scale_jitter=[rules['scale_jitter'][n] for n in both],
        official_quirks=True,
    )
    valid = 0
    for number, pair in enumerate(meta['pairs']):
        key = f'pair.{number}'
        data = {f'{n}_frame': arrays[f'image.{pair[f"{n}_image"]}'][None] for n in both}
        data |= {f'{n}_box': np.array(pair[f'{n}_box'], np.float32) for n in both}
        draws = [(arrays[f'{key}.{n[0]}_randn'], arrays[f'{key}.{n[0]}_rand']) for n in both]
        out = crop.crop(data, draws)
        assert (out is not None) == pair['valid'], pair['what']
        if out is None:
            continue
        valid += 1
        for name in both:
            np.testing.assert_array_equal(
                out[name].transpose(0, 3, 1, 2), arrays[f'{key}.{name}_images']
            )
            np.testing.assert_array_equal(out[f'{name}_outside'], arrays[f'{key}.{name}_att'][0])
            np.testing.assert_allclose(
                out[f'{name}_box'], arrays[f'{key}.{name}_anno'][0], rtol=1e-5, atol=1e-5
            )
    assert valid


def test_template_draws_come_first_and_are_always_consumed():
    np.random.seed(3)
    expected = [np.random.randn(2), np.random.rand(2), np.random.randn(2), np.random.rand(2)]
    np.random.seed(3)
    drawn = [numbers for pair in CropTrackPair().draw() for numbers in pair]
    np.testing.assert_array_equal(drawn, expected)


def test_pairs_are_causal_and_uniform():
    visible = np.ones(40, bool)
    visible[10:15] = False
    rng = np.random.RandomState(0)
    pairs = np.array([draw_pair(visible, 6, rng) for _ in range(4000)])
    gaps = pairs[:, 1] - pairs[:, 0]
    assert visible[pairs].all() and (gaps > 0).all() and pairs[:, 0].max() == 38
    # nothing follows frame 9 within the gap, so such draws are repeated, template and all
    usual = np.setdiff1d(np.flatnonzero(visible)[:-1], 9)
    bases = np.bincount(pairs[:, 0], minlength=40)
    # 33 cells of 4000 / 33 = 121 on average, about 5 standard deviations
    assert bases[usual].min() > 60 and bases[usual].max() < 180 and bases[9] < 20
    assert set(range(1, 6)) <= set(gaps.tolist()) and (gaps > 5).mean() < 0.05  # repeated with 11
    assert set((pairs[pairs[:, 0] == 9, 1]).tolist()) <= set(range(15, 40))


def test_pairs_widen_the_gap_until_there_is_one():
    visible = np.zeros(60, bool)
    visible[[0, 50]] = True
    assert draw_pair(visible, 5, np.random.RandomState(0)) == (0, 50)
    with pytest.raises(ValueError, match='two visible'):
        draw_pair(np.arange(30) == 3, 5)
    with pytest.raises(ValueError, match='max_gap'):
        draw_pair(visible, 1)


def test_sequences_need_visible_frames():
    assert visible_frames([[1, 1, 0, 4], [-3, 1, 2, 2]]).tolist() == [False, True]
    # a box outside of the picture is drawn as long as a crop around it can reach the picture
    rows = [[-20, 1, 9, 9], [2000, 1, 9, 9], [1, -900, 9, 9], [1, 1, 9, 9], [np.nan, 1, 9, 9]]
    assert visible_frames(rows, (40, 60)).tolist() == [True, False, False, True, False]
    assert can_train(np.arange(20) < 5)
    assert not can_train(np.arange(20) < 4) and not can_train(np.ones(19, bool))


def test_dataset_gives_packed_pairs(tmp_path):
    tiny_tracking.write_sequence('FE108', tmp_path, 'train', 'seq', length=24, steps=2)
    tiny_tracking.write_sequence('FE108', tmp_path, 'train', 'short', length=10, steps=2)
    data = TrackingDataset(
        'FE108', str(tmp_path), num_steps=2, samples_per_epoch=7, pipeline=PIPELINE
    )
    assert len(data) == 7 and data.num_sequences == 2
    np.random.seed(0)
    item = data[6]
    assert item['inputs']['template'].shape == (2, 3, 32, 32)
    assert item['inputs']['search'].shape == (2, 3, 64, 64)
    assert item['inputs']['search'].dtype == torch.uint8
    assert item['data_samples'].sequence == 'seq'
    template, search = (item['inputs'][n].amax((-1, -2)) for n in ('template', 'search'))
    assert template[:, 0].tolist() == [10, 20]  # the two sub-frames
    assert 0 <= int(template[0, 2]) < int(search[0, 2]) < 24  # frames tell their number
    np.random.seed(0)
    again = data[0]  # the index does not matter, the generator does
    assert torch.equal(again['inputs']['search'], item['inputs']['search'])
    assert torch.equal(again['data_samples'].gt_box, item['data_samples'].gt_box)


def test_dataset_without_anything_to_train_with_says_so(tmp_path):
    tiny_tracking.write_sequence('FE108', tmp_path, 'train', 'short', length=10)
    with pytest.raises(ValueError, match='none of 1 sequences.*short has 10 visible frames of 10'):
        TrackingDataset('FE108', str(tmp_path), pipeline=PIPELINE)


def training_set(root, rows):
    folder = tiny_tracking.write_sequence('FE108', root, 'train', 'seq', length=len(rows))
    (folder / 'groundtruth_rect.txt').write_text('\n'.join(rows))
    return TrackingDataset('FE108', str(root), pipeline=PIPELINE, max_refetch=3)


@pytest.mark.parametrize('row', ['nan,20,20,20', 'inf,20,20,20', '1e6,20,1e9,1e9', '5,5,5,241'])
def test_the_error_names_a_box_that_cannot_be_used(tmp_path, row):
    rows = ['20,20,20,20'] * 24
    rows[7] = row
    with pytest.raises(
        ValueError, match=r'groundtruth_rect.txt, row 7 .*sequence seq: .* at most 240 pixels'
    ):
        training_set(tmp_path, rows)


def test_frames_without_a_usable_box_are_not_drawn(tmp_path):
    rows = ['20,20,20,20', '20,20,0,20', '2000,20,20,20'] * 8
    data = training_set(tmp_path, rows)
    search = [int(data[0]['inputs']['search'][0, 2].max()) for _ in range(30)]
    assert set(search) <= set(range(0, 24, 3)) and len(set(search)) > 3


def test_boxes_outside_of_the_picture_are_an_error_with_a_name(tmp_path):
    with pytest.raises(ValueError, match='none of 1 sequences.*seq has 0 visible frames of 24'):
        training_set(tmp_path / 'far', ['2000,20,20,20'] * 24)
    near = training_set(tmp_path / 'near', ['80,20,5,5'] * 24)  # but a template crop is empty
    with pytest.raises(ValueError, match='crops of 4 consecutive pairs.*sequence seq'):
        near[0]
