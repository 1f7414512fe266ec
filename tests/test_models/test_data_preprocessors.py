"""Batches of event frames, and augmentations that mix them."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmpretrain')

from mmpretrain.structures import DataSample  # noqa: E402

from mmbsa.registry import MODELS  # noqa: E402


def build(**kwargs):
    return MODELS.build(dict(type='mmbsa.EventDataPreprocessor', num_classes=3, **kwargs))


def batch(*shapes, labels=None):
    torch.manual_seed(0)
    inputs = [torch.randint(0, 4, shape).float() for shape in shapes]
    labels = labels or [i % 3 for i in range(len(shapes))]
    return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(label) for label in labels])


def test_batch_of_equal_recordings():
    data = batch((4, 2, 6, 8), (4, 2, 6, 8))
    out = build()(data)
    assert out['inputs'].shape == (2, 4, 2, 6, 8) and out['inputs'].dtype == torch.float32
    assert torch.equal(out['inputs'], torch.stack(data['inputs']))
    assert [sample.gt_label.tolist() for sample in out['data_samples']] == [[0], [1]]
    assert torch.equal(
        build()(dict(data, inputs=torch.stack(data['inputs'])))['inputs'], out['inputs']
    )


def test_preprocessor_pads_batches():
    data = batch((4, 2, 6, 8), (3, 2, 7, 5))
    out = build(pad_size_divisor=8)(data)['inputs']
    assert out.shape == (2, 4, 2, 8, 8)
    assert torch.equal(out[0, :, :, :6], data['inputs'][0]) and torch.equal(
        out[1, :3, :, :7, :5], data['inputs'][1]
    )
    assert out.sum() == sum(one.sum() for one in data['inputs'])


def test_preprocessor_normalises_frames():
    data = batch((4, 2, 6, 8), (4, 2, 6, 8))
    data['inputs'][1] = data['inputs'][1] * 0
    raw = torch.stack(data['inputs'])
    out = build(normalize='max')(data)['inputs']
    assert (
        torch.allclose(out, raw / torch.tensor([3.0, 1.0]).view(2, 1, 1, 1, 1)) and out.max() == 1
    )
    assert torch.allclose(build(normalize='log')(data)['inputs'], (raw + 1).log())
    summed = build(add_sum=True)(data)['inputs']
    assert summed.shape[2] == 3 and torch.equal(summed[:, :, 2], raw.sum(2))


@pytest.mark.parametrize(
    'augment',
    [
        dict(type='mmbsa.EventMix'),
        dict(type='mmbsa.EventMix', num_gaussians=1, alpha=0.5),
        dict(type='mmbsa.EventCutMix'),
        dict(type='Mixup', alpha=0.5),
    ],
)
def test_preprocessor_mixes_batches(augment):
    cfg = dict(augments=[augment], probs=[1.0])
    preprocessor = build(batch_augments=cfg)
    assert cfg == dict(augments=[augment], probs=[1.0]), 'the config was edited'
    mixed = 0
    for seed in range(6):
        np.random.seed(seed)
        data = batch(*[(4, 2, 16, 16)] * 3)
        raw = torch.stack(data['inputs'])
        state = torch.get_rng_state()
        out = preprocessor(data, training=True)
        scores = torch.stack([sample.gt_score for sample in out['data_samples']])
        assert out['inputs'].shape == raw.shape and torch.allclose(scores.sum(1), torch.ones(3))
        mixed += not torch.equal(out['inputs'], raw)
        torch.set_rng_state(state)
        np.random.seed(seed)
        again = preprocessor(batch(*[(4, 2, 16, 16)] * 3), training=True)
        assert torch.equal(again['inputs'], out['inputs']), (
            'the same generators give the same batch'
        )
    assert mixed
    calm = preprocessor(batch(*[(4, 2, 16, 16)] * 3), training=False)
    assert torch.equal(calm['inputs'], raw) and calm['data_samples'][1].gt_score.tolist() == [
        0,
        1,
        0,
    ]


def test_labels_weigh_events(monkeypatch):
    mix = MODELS.build(dict(type='mmbsa.EventCutMix'))
    mask = np.zeros((2, 4, 4), bool)
    mask[:, :2] = True
    monkeypatch.setattr(type(mix), 'mask', lambda self, shape, share, rng: mask)
    monkeypatch.setattr(torch, 'randperm', lambda count: torch.tensor([1, 0]))
    frames = torch.zeros(2, 2, 2, 4, 4)
    frames[0, :, :, 2:] = 1  # the half that stays: 32 events
    frames[1, 0, 0, 0] = 2  # the half that goes over: 8 events
    mixed, score = mix(frames, torch.eye(2))
    assert mixed[0].sum() == 40 and mixed[1].sum() == 0
    assert torch.allclose(
        score, torch.tensor([[0.8, 0.2], [0.5, 0.5]])
    )  # without any events, the volume decides


def test_preprocessor_refuses_bad_input():
    with pytest.raises(ValueError, match='data_preprocessor.normalize must be one of'):
        build(normalize='std')
    with pytest.raises(ValueError, match='CutMix cuts images .* mmbsa.EventCutMix'):
        build(batch_augments=dict(augments=dict(type='CutMix', alpha=1.0)))
    with pytest.raises(
        ValueError, match=r'frames \(T, P, H, W\), got a sample of shape \(2, 6, 8\)'
    ):
        build()(batch((2, 6, 8)))
    with pytest.raises(ValueError, match=r'same number of channels, got \[2, 3\]'):
        build()(batch((4, 2, 6, 8), (4, 3, 6, 8)))
    with pytest.raises(ValueError, match='EventMix: alpha'):
        MODELS.build(dict(type='mmbsa.EventMix', alpha=0.0))
    with pytest.raises(ValueError, match='mixes event frames'):
        MODELS.build(dict(type='mmbsa.EventMix'))(torch.zeros(2, 3, 4, 4), torch.eye(2))
