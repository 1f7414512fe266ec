"""Boxes of detectors with a fixed number of rows: what mmdet predicts, and what a file predicts."""

from pathlib import Path

import pytest
import torch
from family_checks import settled

pytest.importorskip('mmdet')
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.config import Config  # noqa: E402

from mmbsa.apis.inference import build_model  # noqa: E402
from mmbsa.apis.swap.load import load_config  # noqa: E402
from mmbsa.deploy import BoxPredictor, export_onnx  # noqa: E402

pytestmark = pytest.mark.det

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 96)


def quickstart():
    cfg = Config.fromfile(ROOT / 'configs' / 'bsa_detection_quickstart.py')
    cfg.model.backbone.arch = dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2)
    cfg.model.neck.in_channels = [8, 16, 16, 24]
    # many levels, so that few candidates have equal scores: their order is arbitrary
    roi = cfg.model.roi_head
    for part in (cfg.model.neck, cfg.model.rpn_head, roi.bbox_head, roi.mask_head):
        part.neuron = dict(type='mmbsa.IntegerNode', levels=256, norm=4)
    return cfg


def mask_rcnn():
    return quickstart()


def two_steps():
    cfg = quickstart()
    cfg.model.backbone.update(num_steps=2)
    cfg.model.roi_head.pop('mask_head')
    cfg.model.roi_head.pop('mask_roi_extractor')
    cfg.model.type = 'mmdet.FasterRCNN'
    return cfg


def cascade():
    cfg = quickstart()
    roi = cfg.model.roi_head
    roi.update(type='mmbsa.SpikeCascadeRoIHead', num_stages=3, stage_loss_weights=[1, 0.5, 0.25])
    roi.bbox_head.reg_class_agnostic = True
    for key in ('bbox_head', 'mask_head', 'bbox_roi_extractor', 'mask_roi_extractor'):
        roi[key] = [roi[key].copy() for _ in range(3)]
    roi.bbox_head[1].reg_class_agnostic = False
    cfg.model.train_cfg.rcnn = [cfg.model.train_cfg.rcnn] * 3
    return cfg


def stock(name):
    cfg = Config(load_config(f'mmdet::{name}'))
    cfg.model.backbone.init_cfg = None
    return cfg


DETECTORS = dict(
    mask_rcnn=mask_rcnn,
    two_steps=two_steps,
    cascade=cascade,
    retinanet=lambda: stock('retinanet/retinanet_r18_fpn_1x_coco.py'),
    faster_rcnn=lambda: stock('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'),
)


#: standard deviation of the output of a last layer; small boxes need small deltas
LAST = dict(
    rpn_cls=1.0,
    retina_cls=1.0,
    fc_cls=1.0,
    conv_logits=1.0,
    rpn_reg=0.3,
    retina_reg=0.3,
    fc_reg=0.3,
)


def build(cfg):
    """A detector whose random heads disagree about their candidates: outputs of spiking layers have
    a standard deviation of 20, and less in the end. Weights are multiples of 1/256, so that sums of
    counts are exact in every order: mmdet computes the heads for fewer boxes."""
    torch.manual_seed(0)
    model, done = settled(build_model(cfg)).float().eval(), set()
    spiking = cfg.model.backbone.type.startswith('mmbsa.')

    def normalise(layer, inputs, out):
        if layer not in done:
            done.add(layer)
            layer.weight.mul_(256 * scales[layer] / (out - out.mean()).std()).round_().div_(256)
            layer.bias.zero_()
        return layer.forward(*inputs)

    scales = {
        layer: LAST.get(name.split('.')[-1], 20.0)
        for name, layer in model.named_modules()
        if name.split('.')[-1] in LAST
        or ('head' in name and spiking and getattr(layer, 'bias', None) is not None)
    }
    hooks = [layer.register_forward_hook(normalise) for layer in scales]
    for layer in scales:
        torch.nn.init.normal_(layer.weight)
    expected(model, picture())
    for hook in hooks:
        hook.remove()
    return model


def picture(seed=1, batch=1):
    return 2 * torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def expected(model, image):
    meta = dict(img_shape=SIZE, ori_shape=SIZE, batch_input_shape=SIZE, scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=meta)
    with torch.no_grad():
        return model.predict(image, [sample], rescale=False)[0].pred_instances


@pytest.mark.parametrize('name', DETECTORS)
def test_boxes_are_those_of_mmdet(name):
    model = build(DETECTORS[name]())
    with torch.no_grad():
        boxes, scores, labels, *masks = BoxPredictor(model, SIZE)(picture())
    truth = expected(model, picture())
    number, rows = len(truth), model.test_cfg.get('rcnn', model.test_cfg).max_per_img
    assert 5 < number <= rows == len(boxes) == len(scores) == len(labels)
    torch.testing.assert_close(scores[:number], truth.scores, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(boxes[:number], truth.bboxes, rtol=1e-5, atol=1e-4)
    assert torch.equal(labels[:number], truth.labels)
    assert (scores[number:] == -1).all() and (labels[number:] == -1).all()
    assert not boxes[number:].any() and bool(masks) == ('masks' in truth)
    if masks:
        (masks,) = masks
        assert masks.shape == (rows, 28, 28) and not masks[number:].any()
        assert masks.min() >= 0 and masks.max() <= 1 and masks[:number].std() > 0.01
        pasted, _ = _do_paste_mask(masks[:number, None], boxes[:number], *SIZE, skip_empty=False)
        threshold = model.test_cfg.rcnn.mask_thr_binary
        # mmdet pastes into a part of the image, which changes boxes without an area
        rows = (truth.bboxes[:, 2:] - truth.bboxes[:, :2]).amin(1) > 4
        assert truth.masks[rows].any()
        differ = (pasted >= threshold)[rows] != truth.masks[rows]
        assert differ.double().mean() < 1e-3


@pytest.mark.parametrize('name', ['mask_rcnn', 'retinanet'])
def test_a_file_predicts_the_boxes(name, tmp_path):
    ort = pytest.importorskip('onnxruntime')
    model = build(DETECTORS[name]())
    predictor = BoxPredictor(model, SIZE)
    export_onnx(predictor, (picture(),), tmp_path / 'm.onnx', dynamic=())
    session = ort.InferenceSession(str(tmp_path / 'm.onnx'), providers=['CPUExecutionProvider'])
    for seed in (1, 2):
        with torch.no_grad():
            out = predictor(picture(seed))
        found = session.run(None, {'input_0': picture(seed).numpy()})
        assert len(found) == len(out) and (out[1] >= 0).sum() > 5
        for a, b in zip(found, out):
            torch.testing.assert_close(torch.from_numpy(a), b, rtol=1e-5, atol=1e-3)


def test_one_image_of_the_size_is_taken():
    predictor = BoxPredictor(build(mask_rcnn()), SIZE)
    for image in (picture(batch=2), picture()[..., :64]):
        with pytest.raises(ValueError, match=r'one image of \(64, 96\) pixels, got'):
            predictor(image)


def test_other_detectors_are_named():
    fcos = build_model(stock('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'))
    with pytest.raises(ValueError, match='FCOSHead cannot be exported: expected an anchor head'):
        BoxPredictor(fcos, SIZE)
    cfg = quickstart()
    cfg.model.test_cfg.rcnn.nms = dict(type='soft_nms', iou_threshold=0.5)
    with pytest.raises(ValueError, match='soft_nms'):
        BoxPredictor(build_model(cfg), SIZE)
