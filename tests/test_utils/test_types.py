"""Types given as classes mean what their names mean, wherever a config's type is looked at."""

import pytest
import tiny_run
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from mmbsa.registry import MODELS
from mmbsa.utils import launch
from mmbsa.utils.types import is_ours, type_name


class Own:
    pass


@pytest.mark.parametrize(
    'cfg, name, ours',
    [
        (dict(type='mmbsa.EventMix'), 'EventMix', True),
        (dict(type='Mixup'), 'Mixup', False),
        (dict(type=Own), 'Own', False),
        (dict(type=launch.Config), 'Config', False),
        ({}, '', False),
        ('mmseg.FCNHead', 'FCNHead', False),
        (Own, 'Own', False),
        (None, 'None', False),
    ],
)
def test_type_name_and_origin(cfg, name, ours):
    assert type_name(cfg) == name and is_ours(cfg) == ours


def test_is_ours_knows_our_classes():
    assert is_ours(dict(type=MODELS.get('mmbsa.EventMix')))


@pytest.mark.parametrize('bfloat16', [False, True])
@pytest.mark.parametrize('as_class', [False, True])
def test_launch_replaces_what_needs_a_gpu(as_class, bfloat16, monkeypatch):
    monkeypatch.setattr(launch, 'has_bfloat16', lambda: bfloat16)
    monkeypatch.setattr(launch.torch.cuda, 'is_available', lambda: False)
    norm = torch.nn.SyncBatchNorm if as_class else 'SyncBN'
    cfg = Config(
        dict(
            launcher='none',
            model=dict(norm_cfg=dict(type=norm)),
            optim_wrapper=dict(
                type=AmpOptimWrapper if as_class else 'AmpOptimWrapper',
                loss_scale='dynamic',
                optimizer=dict(type='SGD'),
            ),
            custom_hooks=None,
            val_cfg=None,
            test_cfg=dict(type='TestLoop', fp16=True),
        )
    )
    launch.fit_devices(cfg)
    assert cfg.test_cfg.fp16 == bfloat16 and cfg.val_cfg is None
    assert (cfg.custom_hooks or []) == [dict(type='mmbsa.Float32HeadsHook')] * bfloat16
    wrapper = 'mmbsa.CPUAmpOptimWrapper' if bfloat16 else 'OptimWrapper'
    assert cfg.optim_wrapper.to_dict() == dict(type=wrapper, optimizer=dict(type='SGD'))
    assert launch._without_sync_bn(cfg.model) and cfg.model.norm_cfg.type == 'BN'


@pytest.mark.parametrize('as_class', [False, True])
def test_event_augmentations_are_classes_or_names(as_class):
    pytest.importorskip('mmpretrain')
    from mmpretrain.models.utils.batch_augments import CutMix, Mixup

    mix, cut = MODELS.get('mmbsa.EventMix'), MODELS.get('mmbsa.EventCutMix')

    class Mine(mix):
        """A user's own, not registered."""

    def build(*augments):
        cfg = dict(augments=[dict(type=augment, alpha=1.0) for augment in augments])
        return MODELS.build(
            dict(type='mmbsa.EventDataPreprocessor', num_classes=3, batch_augments=cfg)
        )

    own = (mix, cut, Mixup) if as_class else ('mmbsa.EventMix', 'mmbsa.EventCutMix', 'Mixup')
    assert len(build(*own).batch_augments.augments) == 3
    assert isinstance(build(Mine).batch_augments.augments[0], Mine)
    with pytest.raises(ValueError, match='CutMix cuts images'):
        build(CutMix if as_class else 'CutMix')


def test_pretrained_weights_load_by_class(tmp_path):
    from mmengine.model import PretrainedInit

    arch = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)
    source = MODELS.build(dict(type='mmbsa.ESpikeFormer', arch=arch))
    torch.save(
        {f'module.{key}': value for key, value in source.state_dict().items()}, tmp_path / 'a.pth'
    )
    for kind in ('Pretrained', PretrainedInit):
        model = MODELS.build(
            dict(
                type='mmbsa.ESpikeFormer',
                arch=arch,
                init_cfg=dict(type=kind, checkpoint=str(tmp_path / 'a.pth')),
            )
        )
        model.init_weights()
        assert all(
            torch.equal(value, source.state_dict()[key])
            for key, value in model.state_dict().items()
        )


def test_configs_with_classes_are_swapped():
    pytest.importorskip('mmseg')
    from mmseg.models import EncoderDecoder, FCNHead, ResNetV1c

    from mmbsa.apis import swap_backbone

    head = dict(
        in_channels=2048,
        in_index=3,
        channels=64,
        num_convs=1,
        num_classes=5,
        norm_cfg=dict(type=torch.nn.SyncBatchNorm),
    )
    backbone = dict(depth=50, out_indices=(0, 1, 2, 3))
    named, classes = (
        Config(
            dict(
                default_scope='mmseg',
                model=dict(
                    type=kinds[0],
                    backbone=dict(type=kinds[1], **backbone),
                    decode_head=dict(type=kinds[2], **head),
                ),
            )
        )
        for kinds in (
            ('EncoderDecoder', 'ResNetV1c', 'FCNHead'),
            (EncoderDecoder, ResNetV1c, FCNHead),
        )
    )
    first, second = (
        swap_backbone(cfg, 'espikeformer-t').model.to_dict() for cfg in (named, classes)
    )
    assert first['backbone'] == second['backbone'] and first['neck'] == second['neck']


def test_spiking_backbones_given_as_classes_are_known():
    pytest.importorskip('mmseg')
    from mmbsa.apis import swap_backbone
    from mmbsa.apis.swap import SwapError
    from mmbsa.models.backbones import ESpikeFormer

    for kind in ('mmbsa.ESpikeFormer', ESpikeFormer):
        cfg = dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                backbone=dict(type=kind),
                decode_head=dict(num_classes=3),
            ),
        )
        with pytest.raises(SwapError, match='backbone ESpikeFormer is spiking already'):
            swap_backbone(Config(cfg), 'espikeformer-t')


def test_pretrained_weights_and_layer_wise_rates_leave_by_class():
    pytest.importorskip('mmseg')
    from mmengine.model import PretrainedInit
    from mmseg.engine.optimizers import LayerDecayOptimizerConstructor

    from mmbsa.apis import swap_backbone

    cfg = Config.fromfile(tiny_run.ROOT / 'configs' / 'bsa_quickstart.py').to_dict()
    cfg['model']['backbone'] = dict(type='mmseg.ResNet', depth=18, out_indices=(3,))
    cfg['model']['decode_head'] = dict(
        type='FCNHead', in_channels=512, in_index=0, channels=8, num_convs=1, num_classes=3
    )
    cfg['model'].pop('auxiliary_head', None)
    cfg['model'].pop('neck', None)
    cfg['model']['init_cfg'] = dict(type=PretrainedInit, checkpoint='a.pth')
    cfg['optim_wrapper'] = dict(
        optimizer=dict(type='SGD', lr=0.1),
        constructor=LayerDecayOptimizerConstructor,
        paramwise_cfg=dict(num_layers=3),
    )
    swapped = swap_backbone(cfg, 'espikeformer-t')
    assert 'init_cfg' not in swapped.model and 'constructor' not in swapped.optim_wrapper


def test_the_ternary_neuron_of_an_attention_may_be_a_class():
    from mmbsa.models.attentions import BipolarSelfAttention

    lif = MODELS.get('mmbsa.TernaryLIFNode')

    class Own(lif):
        """A user's subclass, not registered."""

    options = dict(embed_dims=8, num_heads=2, neuron=dict(type='mmbsa.LIFNode', v_threshold=1.0))
    for kind in ('mmbsa.TernaryLIFNode', 'TernaryLIFNode', lif, Own):
        ternary = dict(type=kind, v_threshold=0.8)
        for threshold, expected in ((None, 0.1), (0.3, 0.3)):
            attention = BipolarSelfAttention(**options, ternary=ternary, out_threshold=threshold)
            assert attention.out_neuron.v_threshold == pytest.approx(expected)
            assert attention.q_neuron.v_threshold == pytest.approx(0.8)


def test_readers_of_samples_take_steps_as_classes():
    pytest.importorskip('mmseg')
    from mmcv.transforms import LoadAnnotations, LoadImageFromFile

    from mmbsa.apis.inference import SampleReader
    from mmbsa.datasets.transforms import DrawScene, LoadEventFrames

    def reader(*steps):
        dataset = dict(pipeline=[dict(type=DrawScene)])
        loaded = [
            dict(type=step, **(dict(num_frames=4) if step is LoadEventFrames else {}))
            for step in steps
        ]
        return SampleReader(
            Config(dict(test_dataloader=dict(dataset=dataset), test_pipeline=loaded))
        )

    steps = reader(LoadImageFromFile, LoadAnnotations).pipeline.transforms
    assert [type(step) for step in steps] == [LoadImageFromFile]
    assert reader(LoadEventFrames).frames == (4, None)


def test_surrogates_may_be_classes():
    from spikingjelly.activation_based import surrogate

    from mmbsa.models.neurons import build_surrogate

    for cfg in (surrogate.ATan, dict(type=surrogate.ATan, alpha=3.0), dict(type='ATan', alpha=3.0)):
        built = build_surrogate(cfg)
        assert type(built) is surrogate.ATan and built.alpha in (2.0, 3.0)
    with pytest.raises(KeyError, match='is unknown; use one of'):
        build_surrogate(dict(type=Own))
