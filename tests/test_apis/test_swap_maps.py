"""Stock detectors and classifiers become spiking: what stands behind the backbone sees the maps
that it saw before.
"""

from copy import deepcopy

import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmdet')
from swap_survey import survey_config, zoo  # noqa: E402
from swap_trial_maps import feature_shapes, train_step  # noqa: E402

from mmbsa.apis.swap import SwapError, load_config, swap_backbone  # noqa: E402
from mmbsa.apis.swap.maps import backbone_owner  # noqa: E402

TINY = dict(
    type='mmbsa.ESpikeFormer',
    arch=dict(embed_dims=(8, 16, 16, 32), depths=(1, 1), num_heads=2),
    attention=dict(type='mmbsa.BipolarSelfAttention'),
)
#: a neck whose channels follow, a list of necks, one that ties widths, none at all, a tracker's
#: detector, reversed channels
DETECTORS = [
    'retinanet/retinanet_r50_fpn_1x_coco.py',
    'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py',
    'ssd/ssd300_coco.py',
    'pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py',
    'yolo/yolov3_d53_8xb8-320-273e_coco.py',
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.01-coco.py',
    'detr/detr_r50_8xb2-150e_coco.py',
]


@pytest.mark.parametrize('name', DETECTORS)
def test_features_keep_their_shapes(name):
    swapped, stock = swap_backbone(f'mmdet::{name}', TINY), Config(load_config(f'mmdet::{name}'))
    assert backbone_owner(swapped.model).backbone.type == 'mmbsa.ESpikeFormer'
    assert swapped.custom_imports['imports'][0] == 'mmbsa.utils.mmcv_ops'
    assert feature_shapes(swapped) == feature_shapes(stock)


def test_necks_follow_to_the_new_channels_where_they_can():
    neck = swap_backbone(f'mmdet::{DETECTORS[0]}', TINY).model.neck
    assert neck.type == 'mmbsa.TemporalReadout' and neck.neck.type == 'mmbsa.LevelAdapter'
    assert neck.neck.strides == [4, 8, 16, 32] and 'channels' not in neck.neck
    assert neck.neck.neck.type == 'mmdet.FPN' and neck.neck.neck.in_channels == [8, 16, 16, 32]


@pytest.mark.parametrize(
    'name', ['mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'retinanet/retinanet_r50_fpn_1x_coco.py']
)
def test_swapped_detector_takes_a_training_step(name):
    model, losses = train_step(swap_backbone(f'mmdet::{name}', TINY))
    assert (
        losses['loss'] > 0
        and [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    )


@pytest.mark.parametrize(
    'name, message',
    [
        ('tridentnet/tridentnet_r50-caffe_1x_coco.py', 'TridentResNet returns 6 maps of 2 images'),
        ('detectors/detectors_cascade-rcnn_r50_1x_coco.py', 'neck RFP cannot read'),
        (
            'mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2019.py',
            'Mask2FormerVideo takes no neck',
        ),
        ('common/lsj-100e_coco-detection.py', "has no 'model'"),
        ('glip/odinw/override_category.py', "has no 'model'"),  # a program, no config
    ],
)
def test_detectors_that_cannot_be_swapped_are_refused(name, message):
    with pytest.raises(SwapError, match=message):
        swap_backbone(f'mmdet::{name}', TINY)


def test_swapping_twice_and_other_scopes_are_refused():
    once = swap_backbone(f'mmdet::{DETECTORS[0]}', TINY)
    with pytest.raises(SwapError, match='spiking already'):
        swap_backbone(once, TINY)
    other = deepcopy(load_config(f'mmdet::{DETECTORS[0]}'))
    other['default_scope'] = 'mmpose'
    with pytest.raises(SwapError, match="default_scope='mmpose'"):
        swap_backbone(other, TINY)


def test_configs_that_do_not_load_are_refused(tmp_path):
    (tmp_path / 'broken.py').write_text("_base_ = './nowhere.py'\n")
    with pytest.raises(SwapError, match='broken.py does not load: FileNotFoundError'):
        load_config(tmp_path / 'broken.py')


def test_survey_of_detectors():
    path = zoo(['retinanet'], 'mmdet')[0]
    row = survey_config(path, TINY, package='mmdet')
    assert (row.status, row.built, row.family) == ('swapped', 'yes', 'retinanet') and row.params > 1


@pytest.mark.parametrize(
    'name, channels',
    [
        ('resnet/resnet18_8xb32_in1k.py', 32),
        ('vision_transformer/vit-base-p16_64xb64_in1k-384px.py', 32),
    ],
)
def test_classifiers_pool_the_last_map(name, channels):
    pytest.importorskip('mmpretrain')
    cfg = swap_backbone(f'mmpretrain::{name}', TINY)
    assert (
        cfg.model.neck.neck.type == 'mmpretrain.GlobalAveragePooling'
        and cfg.model.head.in_channels == channels
    )
    assert feature_shapes(cfg) == [(2, channels)]
    losses = train_step(cfg, (64, 64))[1]
    assert torch.isfinite(torch.tensor(losses['loss']))


def test_classifiers_with_patch_tokens_are_refused():
    pytest.importorskip('mmpretrain')
    with pytest.raises(
        SwapError, match='does not return|need more|more than a linear head|returns'
    ):
        swap_backbone('mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', TINY)
