"""Spiking heads: any T and batch, the same in both modes, anchors and RoIs at the true places."""

from copy import deepcopy

import pytest
import torch
from mmengine.config import ConfigDict

pytest.importorskip('mmdet')
from mmdet.testing import demo_mm_inputs  # noqa: E402

from mmbsa.registry import MODELS  # noqa: E402

INTEGER = dict(type='mmbsa.IntegerNode', levels=4, norm=1)
LIF = dict(type='mmbsa.LIFNode', tau=2.0, surrogate_function=dict(type='Sigmoid', alpha=4.0))
ANCHORS = dict(type='AnchorGenerator', scales=[2], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32])
RPN = dict(
    type='mmbsa.SpikeRPNHead',
    in_channels=8,
    feat_channels=8,
    anchor_generator=ANCHORS,
    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
    loss_bbox=dict(type='L1Loss'),
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=32, pos_fraction=0.5, add_gt_as_proposals=False),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=100, max_per_img=50, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
    ),
)
EXTRACTOR = dict(
    type='mmbsa.SpikeRoIExtractor',
    out_channels=8,
    featmap_strides=[4, 8, 16, 32],
    finest_scale=8,
    roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
)
BOX = dict(
    type='mmbsa.SpikeShared2FCBBoxHead',
    in_channels=8,
    fc_out_channels=16,
    roi_feat_size=7,
    num_classes=2,
    bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
    reg_class_agnostic=True,
    loss_cls=dict(type='CrossEntropyLoss'),
    loss_bbox=dict(type='L1Loss'),
)
MASK = dict(
    type='mmbsa.SpikeFCNMaskHead', num_convs=1, in_channels=8, conv_out_channels=8, num_classes=2
)

pytestmark = pytest.mark.det
RCNN = dict(
    assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5),
    sampler=dict(type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=True),
    mask_size=14,
    pos_weight=-1,
    debug=False,
)
ROI = dict(
    type='mmbsa.SpikeRoIHead',
    bbox_roi_extractor=EXTRACTOR,
    bbox_head=BOX,
    mask_roi_extractor=EXTRACTOR,
    mask_head=MASK,
)
TEST = dict(
    score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=5, mask_thr_binary=0.5
)
RETINA = dict(
    type='mmbsa.SpikeRetinaHead',
    num_classes=2,
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    anchor_generator=ANCHORS,
)


def build(cfg, **changes):
    torch.manual_seed(0)
    return MODELS.build(ConfigDict({**deepcopy(cfg), **changes}))


def detector(neuron=INTEGER, steps=1, cascade=False):
    roi = deepcopy(ROI)
    roi['bbox_head']['neuron'] = roi['mask_head']['neuron'] = neuron
    rcnn = RCNN
    if cascade:
        roi.update(
            type='mmbsa.SpikeCascadeRoIHead',
            num_stages=2,
            stage_loss_weights=[1, 0.5],
            bbox_head=[roi['bbox_head']] * 2,
        )
        rcnn = [RCNN] * 2
    cfg = dict(
        type='mmdet.CascadeRCNN' if cascade else 'mmdet.MaskRCNN',
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor',
            mean=[128.0] * 3,
            std=[64.0] * 3,
            pad_mask=True,
            pad_size_divisor=16,
        ),
        backbone=dict(
            type='mmbsa.ESpikeFormer',
            num_steps=steps,
            out_indices=(1, 2, 3, 4),
            arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2),
        ),
        neck=dict(
            type='mmbsa.SpikeFPN',
            in_channels=[8, 8, 16, 16],
            out_channels=8,
            num_outs=4,
            neuron=neuron,
        ),
        rpn_head={
            **{k: v for k, v in RPN.items() if k not in ('train_cfg', 'test_cfg')},
            'neuron': neuron,
        },
        roi_head=roi,
        train_cfg=dict(rpn=RPN['train_cfg'], rpn_proposal=RPN['test_cfg'], rcnn=rcnn),
        test_cfg=dict(rpn=RPN['test_cfg'], rcnn=TEST),
    )
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(deepcopy(cfg)))
    for module in model.modules():  # wide enough that neurons fire
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=(4 / module.weight[0].numel()) ** 0.5)
    return model


@pytest.fixture(scope='module')
def batch():
    return demo_mm_inputs(
        2, [[3, 64, 80], [3, 60, 96]], num_items=[2, 3], num_classes=2, with_mask=True
    )


def maps(steps, batch=2, size=(64, 96), strides=(4, 8, 16, 16)):
    torch.manual_seed(1)
    return [torch.randn(steps, batch, 8, size[0] // s, size[1] // s) for s in strides]


@pytest.mark.parametrize(
    'neuron, steps, cascade', [(INTEGER, 1, False), (LIF, 3, False), (INTEGER, 2, True)]
)
def test_detector_trains_and_predicts(batch, neuron, steps, cascade):
    model = detector(neuron, steps, cascade).train()
    losses = model(**model.data_preprocessor(deepcopy(batch), True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []
    fed = {name.split('.')[0] for name, p in model.named_parameters() if p.grad.abs().sum() > 0}
    assert fed == {'backbone', 'neck', 'rpn_head', 'roi_head'}
    model.eval()
    with torch.no_grad():
        samples = model(**model.data_preprocessor(deepcopy(batch), False), mode='predict')
        assert [len(s.pred_instances) for s in samples] == [5, 5]
        assert tuple(samples[0].pred_instances.masks.shape[1:]) == tuple(samples[0].ori_shape)
        raw = model(**model.data_preprocessor(deepcopy(batch), False), mode='tensor')
    assert all(
        torch.isfinite(x).all()
        for part in raw
        for x in (part if isinstance(part, (list, tuple)) else [part])
        if torch.is_tensor(x)
    )


def test_predictions_of_an_image_do_not_depend_on_its_batch(batch):
    model = detector(INTEGER, 2).eval()
    same = demo_mm_inputs(2, [[3, 64, 96]] * 2, num_items=[2, 2], num_classes=2, with_mask=True)
    with torch.no_grad():
        both = model(**model.data_preprocessor(deepcopy(same), False), mode='predict')
        alone = [
            model(
                **model.data_preprocessor({k: [v[i]] for k, v in deepcopy(same).items()}, False),
                mode='predict',
            )[0]
            for i in range(2)
        ]
    for one, other in zip(both, alone):
        torch.testing.assert_close(
            one.pred_instances.bboxes, other.pred_instances.bboxes, atol=1e-3, rtol=1e-4
        )
        assert torch.equal(one.pred_instances.labels, other.pred_instances.labels)


@pytest.mark.parametrize('cfg', [RPN, RETINA], ids=['rpn', 'retina'])
@pytest.mark.parametrize('neuron', [INTEGER, LIF], ids=['integer', 'lif'])
def test_dense_heads_keep_time_and_agree_in_both_modes(cfg, neuron):
    head = build(cfg, neuron=neuron)
    for steps, size in ((1, 1), (3, 2)):
        x = maps(steps, size)
        outs = [head.train(mode)(x) for mode in (True, False)]
        for level, (scores, deltas) in enumerate(zip(*outs[0])):
            assert scores.shape[:2] == deltas.shape[:2] == (steps, size)
            assert scores.shape[-2:] == x[level].shape[-2:] and deltas.shape[2] == 12
        assert all(torch.equal(a, b) for one, two in zip(*outs) for a, b in zip(one, two))


def test_rpn_with_several_convolutions_reads_negative_currents():
    head = build(RPN, num_convs=2, neuron=LIF)
    assert [unit.with_activation for unit in head.rpn_conv] == [False, False]
    assert head(maps(2))[0][0].shape == (2, 2, 3, 16, 24)


@pytest.mark.parametrize('quirks, strides', [(False, [4, 8, 16, 16]), (True, [4, 8, 16, 32])])
def test_anchors_stand_at_the_cells_of_the_maps(quirks, strides):
    head = build(RPN, official_quirks=quirks).eval()
    x, metas = (
        maps(2),
        [dict(img_shape=(64, 96), batch_input_shape=(64, 96), scale_factor=(1, 1))] * 2,
    )
    with torch.no_grad():
        head.predict_by_feat(*head(x), batch_img_metas=metas)
    priors = head.prior_generator.grid_priors([m.shape[-2:] for m in x], device='cpu')
    for level, (stride, anchors) in enumerate(zip(strides, priors)):
        centres = (anchors[::3, :2] + anchors[::3, 2:]) / 2
        assert centres[1].tolist() == [stride, 0] and centres.max(0).values.max() <= 2 * 96
        area = (anchors[1, 2:] - anchors[1, :2]).prod()
        assert area == (2 * (4, 8, 16, 32)[level]) ** 2, 'the size follows the configured stride'


def test_extractor_reads_every_step_at_the_true_place():
    extractor = build(EXTRACTOR)
    steps, stride = 3, 16
    x = [torch.zeros(steps, 2, 8, 64 // s, 96 // s) for s in (4, 8, 16, 16)]
    column = torch.arange(6.0)
    for step in range(steps):  # the fourth map holds its own column, its image and its step
        x[3][step, :, 0], x[3][step, 1, 1], x[3][step, :, 2] = column, 1.0, step
    extractor.fit(x, (64, 96))
    rois = torch.tensor(
        [[1.0, 0.0, 0.0, 96.0, 64.0], [0.0, 0.0, 0.0, 96.0, 64.0]]
    )  # 78 px: level 3 of a finest scale of 8
    out = extractor(x, rois)
    assert out.shape == (steps, 2, 8, 7, 7)
    middle = torch.linspace(0, 96, 8)[:-1] + 96 / 14
    expected = (middle / stride - 0.5).clamp(0, 5)
    assert torch.allclose(out[:, :, 0, 3], expected.expand(steps, 2, 7), atol=0.12)
    assert (out[:, 0, 1] == 1).all() and (out[:, 1, 1] == 0).all()
    assert all((out[step, :, 2] == step).all() for step in range(steps))
    quirky = build(EXTRACTOR, official_quirks=True)
    quirky.fit(x, (64, 96))
    assert not torch.allclose(quirky(x, rois)[:, :, 0, 3], expected.expand(steps, 2, 7), atol=0.12)


def test_extractor_does_not_depend_on_the_memory_of_maps():
    """mmcv's compiled RoIAlign reads channels-last maps as if they were contiguous."""
    extractor, x = build(EXTRACTOR), maps(2)
    extractor.fit(x, (64, 96))
    rois = torch.tensor([[1.0, 3.0, 4.0, 90.0, 60.0], [0.0, 10.0, 10.0, 25.0, 22.0]])
    last = [m.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (2, 2)) for m in x]
    assert not last[0][0].is_contiguous()
    assert torch.equal(extractor(last, rois), extractor(x, rois))


@pytest.mark.parametrize('cascade', [False, True])
def test_extractors_of_a_detector_have_the_true_strides(batch, cascade):
    model = detector(cascade=cascade).eval()
    with torch.no_grad():
        model(**model.data_preprocessor(deepcopy(batch), False), mode='predict')
    for part in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        for extractor in part if isinstance(part, torch.nn.ModuleList) else [part]:
            assert [1 / layer.spatial_scale for layer in extractor.roi_layers] == [4, 8, 16, 16]


@pytest.mark.parametrize('steps', [1, 2])
def test_no_roi_gives_no_output(steps):
    x, rois = maps(steps), torch.zeros(0, 5)
    extractor = build(EXTRACTOR)
    extractor.fit(x, (64, 96))
    features = extractor(x, rois)
    assert features.shape == (steps, 0, 8, 7, 7)
    scores, deltas = build(BOX)(features)
    assert scores.shape == (steps, 0, 3) and deltas.shape == (steps, 0, 4)
    assert build(MASK)(features).shape == (0, 2, 14, 14)
    assert build(MASK, neuron=LIF)(features).shape == (0, 2, 14, 14)


@pytest.mark.parametrize('cfg', [BOX, MASK], ids=['box', 'mask'])
def test_roi_heads_agree_in_both_modes(cfg):
    head, x = build(cfg), 2 * torch.randn(3, 5, 8, 7, 7)
    outs = [head.train(mode)(x) for mode in (True, False)]
    for one, two in zip(*(out if isinstance(out, tuple) else (out,) for out in outs)):
        assert torch.equal(one, two) and one.abs().sum() > 0


def test_mask_logits_are_means_over_steps():
    head, x = build(MASK), 2 * torch.randn(4, 3, 8, 7, 7)
    memoryless = build(MASK, neuron=dict(INTEGER, decay=0.0))
    expected = torch.stack([memoryless(step[None]) for step in x]).mean(0)
    torch.testing.assert_close(memoryless(x), expected)
    assert not torch.equal(head(x), memoryless(x)), 'with decay the membrane is kept between steps'


def test_maps_without_time_are_refused():
    with pytest.raises(ValueError, match=r'SpikeRPNHead needs maps \(T, B, C, H, W\)'):
        build(RPN)([x[0] for x in maps(1)])


def test_stock_extractors_are_refused():
    with pytest.raises(
        TypeError, match="bbox_roi_extractor must be of type 'mmbsa.SpikeRoIExtractor'"
    ):
        build(ROI, bbox_roi_extractor=dict(EXTRACTOR, type='mmdet.SingleRoIExtractor'))
    with pytest.raises(TypeError, match='mask_roi_extractor is missing'):
        build(ROI, mask_roi_extractor=None)


def test_neurons_with_another_number_of_steps_are_refused():
    head = build(RPN, num_steps=4)
    with pytest.raises(ValueError, match='num_steps'):
        head(maps(2))
