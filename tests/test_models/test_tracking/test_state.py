"""Steps of a tracker without a network: the official trace with prescribed maps."""

import numpy as np
import pytest
import torch
import tracking_fixtures

from mmbsa.models.tracking.head import CentreMaps, decode_boxes
from mmbsa.models.tracking.state import CropRules, advance, search_crop, start_track
from mmbsa.structures import hann_window
from mmbsa.structures.track_files import write_result

FIXTURES = tracking_fixtures.find('sdtrack_preproc', '.npz')


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES)
@pytest.mark.parametrize('variant', ['official', 'hann'])
def test_trace_equals_the_official_one(path, variant, tmp_path):
    meta, arrays = tracking_fixtures.load(path)
    rules = CropRules(official_quirks=True)
    score, size, offset = (
        torch.from_numpy(arrays[f'trace.{name}']) for name in ('score', 'size', 'offset')
    )
    window = hann_window(score.shape[-1])
    window = None if variant == 'official' else window[:, None] * window
    states, base = arrays[f'trace.{variant}.states'], arrays['trace.base_frame']
    state = start_track(base[None], states[0], rules)
    assert state.template.sum((0, 2, 3)).tolist() == arrays['trace.template_sum'].tolist()
    boxes = [state.box]
    for step in range(len(states) - 1):
        frame = np.roll(base, (2 * (step + 1), 3 * (step + 1)), (0, 1))[None]
        crop, factor = search_crop(frame, state, rules)
        assert factor == arrays[f'trace.{variant}.resize_factors'][step]
        sums = arrays[f'trace.{variant}.search_channel_sums_and_masked'][step]
        assert crop.sum((0, 2, 3)).tolist() == sums[:3].tolist()
        maps = CentreMaps(*(m[step + 1 : step + 2] for m in (score, size, offset)))
        box, _ = decode_boxes(maps, window)
        np.testing.assert_allclose(
            box[0], arrays[f'trace.{variant}.pred'][step], rtol=1e-5, atol=1e-6
        )
        before = state.box.copy()
        moved = advance(state, box[0], factor, frame.shape[1:3], rules)
        np.testing.assert_array_equal(state.box, before)  # states are not changed
        state = moved
        np.testing.assert_allclose(state.box, states[step + 1], rtol=1e-5, atol=1e-5)
        boxes.append(state.box)
    write_result(tmp_path / 'seq.txt', np.stack(boxes))
    assert (tmp_path / 'seq.txt').read_text() == meta[f'trace_{variant}_file']


@pytest.mark.parametrize(
    'box, message',
    [
        ((5, 5, 0, 4), 'no area'),
        ((5, 5, 4, float('nan')), 'no area'),
        ((60, 5, 4, 4), 'outside of the frame, which has 60 x 40'),
        ((-5, 5, 4, 4), 'outside of the frame'),
    ],
)
def test_first_box_must_be_usable(box, message):
    with pytest.raises(ValueError, match=message):
        start_track(np.zeros((1, 40, 60, 3), np.uint8), box, CropRules())


def test_frames_and_rules_are_checked():
    with pytest.raises(ValueError, match='T, H, W, 3'):
        start_track(np.zeros((40, 60, 3), np.uint8), (1, 1, 5, 5), CropRules())
    with pytest.raises(ValueError, match='crops.search_size'):
        CropRules(search_size=0)
