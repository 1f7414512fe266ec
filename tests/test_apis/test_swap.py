"""Stock configs become spiking: rewritten over the whole zoo, trained for a step in one config of
each family."""

from copy import deepcopy

import pytest
import torch
from mmengine.config import Config

from mmbsa.apis.swap import SwapError, load_config, swap_backbone
from mmbsa.apis.swap.heads import head_list, input_parts

pytest.importorskip('mmseg')
from swap_survey import survey_config, table, unbuildable, zoo  # noqa: E402
from swap_trial import build_model, run_skeleton, train_step  # noqa: E402

pytestmark = pytest.mark.seg
TINY = dict(
    type='mmbsa.ESpikeFormer',
    arch=dict(embed_dims=(8, 16, 16, 32), depths=(1, 1), num_heads=2),
    attention=dict(type='mmbsa.BipolarSelfAttention'),
)
REFUSED = {'san'}
#: LR-ASPP pools windows of 49 x 49 on a map of stride 8.
CROPS = {'mobilenet_v3': (392, 392)}


def by_family() -> dict:
    families: dict = {}
    for path in zoo():
        families.setdefault(path.parent.name, []).append(path)
    return families


FAMILIES = by_family()


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize('family', sorted(set(FAMILIES) - REFUSED))
def test_one_config_of_each_family_takes_a_training_step(family):
    path = FAMILIES[family][0]
    cfg = swap_backbone(path, TINY)
    try:
        model = build_model(cfg)
    except Exception as error:
        reason = unbuildable(path)
        assert reason, f'the stock config builds, the swapped one does not: {error}'
        pytest.skip(f'does not build here with its own backbone either: {reason}')
    try:
        losses, silent = train_step(model, cfg, CROPS.get(family, (64, 64)))
    except (
        ImportError,
        RuntimeError,
        NotImplementedError,
    ) as error:  # an op that only a compiled mmcv has
        assert 'compiled ops' in str(error)
        pytest.skip(f'needs compiled ops with its own backbone too: {error}')
    assert losses['loss'] > 0
    assert silent == [], 'parameters without gradient stop distributed training'
    assert any(
        name.startswith('backbone.') and p.grad.abs().sum() > 0
        for name, p in model.named_parameters()
        if p.grad is not None
    )


def combinations() -> dict:
    """One config for every family, and for every combination of backbone, neck and decode head in a
    third of the zoo."""
    found, seen = {}, set()
    for family, paths in FAMILIES.items():
        for path in paths[::3]:
            model = load_config(path)['model']
            parts = (model.get('backbone'), model.get('neck'), *head_list(model, 'decode_head'))
            kinds = tuple(str((part or {}).get('type')) for part in parts)
            if path == paths[0] or kinds not in seen:
                found[(family, *kinds)] = path
            seen.add(kinds)
    return found


def test_every_kind_of_config_in_the_zoo_is_rewritten_or_refused_with_a_reason():
    outcome = {}
    for key, path in combinations().items():
        try:
            cfg = swap_backbone(path, TINY)
        except SwapError as error:
            assert 'SideAdapterCLIPHead' in str(error) and 'CLIP' in str(error)
            outcome.setdefault(key[0], 'refused')
            continue
        outcome[key[0]] = 'swapped'
        assert (
            cfg.model.backbone.type == 'mmbsa.ESpikeFormer'
            and cfg.model.neck.type == 'mmbsa.TemporalReadout'
        )
        assert '_base_' not in cfg and 'pretrained' not in cfg.model
        indices = cfg.model.backbone.out_indices
        assert list(indices) == sorted(set(indices)) and indices[-1] == 4, (
            'the last level must be read'
        )
    assert set(outcome) == set(FAMILIES)
    assert {family for family, what in outcome.items() if what == 'refused'} == REFUSED
    assert sum(what == 'swapped' for what in outcome.values()) >= 0.9 * len(outcome)


def test_everything_but_the_network_stays():
    path = next(p for p in FAMILIES['pspnet'] if 'ade20k' in p.name)
    stock, cfg = load_config(path), swap_backbone(path, 'espikeformer-t-bsa').to_dict()
    assert {k: v for k, v in cfg.items() if k != 'model'} == {
        k: v for k, v in stock.items() if k != 'model'
    }
    for key in ('type', 'data_preprocessor', 'train_cfg', 'test_cfg'):
        assert cfg['model'][key] == stock['model'][key]
    head, old = cfg['model']['decode_head'], stock['model']['decode_head']
    assert {k for k in head if head[k] != old.get(k)} == {'in_channels', 'in_index'}
    assert cfg['model']['backbone'] == dict(
        type='mmbsa.ESpikeFormer',
        arch='t',
        attention=dict(type='mmbsa.BipolarSelfAttention'),
        norm_cfg=dict(type='SyncBN'),
        out_indices=(3, 4),
    )


def test_the_given_config_is_not_changed():
    stock = Config(load_config(FAMILIES['upernet'][0]))
    before = deepcopy(stock.to_dict())
    backbone = deepcopy(TINY)
    swap_backbone(stock, backbone)
    assert stock.to_dict() == before and backbone == TINY


@pytest.mark.parametrize(
    'family, levels, neck',
    [
        ('pspnet', (3, 4), None),  # dilated stages stay stages
        ('deeplabv3plus', (1, 3, 4), None),  # its decoder reads the first map by itself
        ('upernet', (1, 2, 3, 4), None),
        ('sem_fpn', (1, 2, 3, 4), dict(type='mmseg.FPN', in_channels=[8, 16, 16, 32])),
        ('setr', (3, 4), dict(type='mmbsa.LevelAdapter', sources=[0, 0, 1, 1])),
        ('mae', (4,), dict(type='mmbsa.LevelAdapter', sources=[0, 0, 0, 0])),
        ('dpt', (4,), dict(type='mmbsa.LevelAdapter', tokens=True)),
        ('unet', (0, 1, 2, 3, 4), dict(type='mmbsa.LevelAdapter', top_down=128, sources=[0, 0])),
        (
            'bisenetv2',
            (1, 2, 3, 4),
            dict(type='mmbsa.LevelAdapter', top_down=128, sources=[1, 0, 1, 2, 3]),
        ),
        (
            'pidnet',
            (2, 3, 4),
            dict(type='mmbsa.LevelAdapter', top_down=256, eval_out=1, channels=[128, 256, 128]),
        ),
        ('mobilenet_v3', (0, 1, 4), dict(type='mmbsa.LevelAdapter', strides=[2, 4, 8])),
        (
            'vpd',
            (2, 3, 4),
            dict(
                type='mmbsa.LevelAdapter', strides=[8, 16, 32, 64], channels=[320, 640, 1280, 1280]
            ),
        ),
    ],
)
def test_levels_and_necks(family, levels, neck):
    model = swap_backbone(FAMILIES[family][-1 if family == 'setr' else 0], TINY).model.to_dict()
    if family == 'setr':
        model = swap_backbone(
            next(p for p in FAMILIES['setr'] if 'mla' in p.name), TINY
        ).model.to_dict()
    assert model['backbone']['out_indices'] == levels
    inner = model['neck'].get('neck') or {}
    assert {k: inner.get(k) for k in neck or {}} == (neck or {})
    assert bool(inner) == bool(neck)


def test_the_crop_of_the_config_itself_fits():
    """LR-ASPP cannot pool a map of stride 16 of its own crop, and VPD's sizes must nest at 480:
    shapes alone, no memory."""
    for family in ('mobilenet_v3', 'vpd', 'icnet', 'point_rend'):
        cfg = swap_backbone(FAMILIES[family][0], TINY)
        try:
            model, size = run_skeleton(cfg)
        except Exception:
            assert unbuildable(FAMILIES[family][0])
            continue
        assert sum(p.numel() for p in model.parameters()) > 1e5 and min(size) >= 480


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='mmbsa.Spikformer', arch='dvs-2-256', num_steps=1),  # strides 2, 4, 8, 16
        dict(type='mmbsa.SpikingResformer', arch='cifar', num_steps=1),  # strides 1, 2, 4
        dict(type='mmbsa.QKFormer', arch='gesture-2-256', num_steps=1),  # strides 8, 16
        dict(TINY, num_steps=2, out_indices=(4,)),  # one level only
    ],
    ids=lambda b: b['type'],
)
def test_any_backbone_of_ours_serves_any_consumer(backbone):
    for family in ('deeplabv3plus', 'vit', 'unet', 'pidnet'):
        cfg = swap_backbone(FAMILIES[family][0], backbone)
        cfg.model.data_preprocessor.size = (64, 64)
        assert run_skeleton(cfg)[0].backbone.out_indices[-1] == cfg.model.backbone.out_indices[-1]


@pytest.mark.parametrize(
    'head',
    [
        dict(
            type='mmbsa.Spike2FormerHead',
            channels=16,
            num_queries=5,
            num_layers=1,
            num_encoder_layers=1,
            num_heads=2,
            groups=4,
            feedforward_channels=16,
            encoder_feedforward_channels=16,
        ),
        dict(type='mmbsa.SpikeUPerHead', channels=8),
        dict(type='mmbsa.SpikeMLPHead', channels=8),
    ],
    ids=lambda head: head['type'],
)
def test_spiking_heads_read_the_time_of_the_new_backbone(head):
    stock = dict(
        default_scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            backbone=dict(type='ResNet', depth=18, out_indices=(0, 1, 2, 3)),
            decode_head=dict(
                head, in_channels=[64, 128, 256, 512], in_index=[0, 1, 2, 3], num_classes=5
            ),
        ),
    )
    cfg = swap_backbone(stock, dict(TINY, num_steps=2))
    assert 'neck' not in cfg.model and list(cfg.model.decode_head.in_channels) == [8, 16, 16, 32]
    steps = []
    for settings, number in ((stock, 1), (cfg, 2)):
        model = build_model(Config(settings) if isinstance(settings, dict) else settings).eval()
        model.decode_head.out_neuron.register_forward_hook(
            lambda _, args, __: steps.append(len(args[0]))
        )
        assert model(torch.randn(1, 3, 64, 64)).shape[:2] == (1, 5)
        assert steps[-1] == number


def test_steps_and_readout_are_arguments():
    cfg = swap_backbone(FAMILIES['unet'][0], dict(TINY, num_steps=3), readout='last')
    assert cfg.model.backbone.num_steps == 3 and cfg.model.neck.mode == 'last'
    losses, silent = train_step(build_model(cfg), cfg, (64, 64))
    assert losses['loss'] > 0 and silent == []


def test_unusual_inputs_are_kept():
    stock = load_config(FAMILIES['unet'][0])
    stock['model']['backbone'].update(in_channels=5, with_cp=True)
    backbone = swap_backbone(stock, TINY).model.backbone
    assert backbone.in_channels == 5 and backbone.with_cp is True


def test_a_backbone_that_cannot_be_built_is_taken_for_a_pyramid():
    stock = load_config(FAMILIES['swin'][0])
    expected = swap_backbone(stock, TINY)
    stock['model']['backbone'] = dict(type='no_such_package.Backbone', depth=3)
    assert swap_backbone(stock, TINY).model == expected.model


def change(key: str, value) -> dict:
    stock = load_config(FAMILIES['pspnet'][0])
    stock['model'][key] = value
    return stock


@pytest.mark.parametrize(
    'key, value, words',
    [
        ('backbone', None, "no 'backbone'"),
        ('decode_head', None, "no 'decode_head'"),
        ('backbone', dict(type='mmbsa.ESpikeFormer'), 'spiking already'),
        (
            'backbone',
            dict(type='no_such_package.Backbone'),
            'NoSuch|no_such_package.*does not build|Backbone does not build',
        ),
        ('decode_head', dict(type='SideAdapterCLIPHead'), 'SideAdapterCLIPHead.*CLIP'),
        (
            'decode_head',
            dict(type='PSPHead', in_channels=8, in_index=9),
            r'PSPHead reads in_index=\[9\], but there are 4 maps',
        ),
        ('decode_head', dict(type='PSPHead', channels=8), 'PSPHead has no in_channels'),
        (
            'neck',
            dict(type='FPN', in_channels=[256, 512], out_channels=8, num_outs=2),
            'neck FPN has 2 in_channels',
        ),
        (
            'neck',
            dict(type='NoSuchNeck', in_channels=[256, 512, 1024, 2048]),
            'neck NoSuchNeck does not build',
        ),
    ],
)
def test_refusals_name_the_part_and_the_reason(key, value, words):
    with pytest.raises(SwapError, match=words):
        swap_backbone(change(key, value), TINY)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(SwapError, match='no-such'):
        swap_backbone(FAMILIES['pspnet'][0], 'no-such-backbone')


def test_a_written_file_is_self_contained(tmp_path):
    cfg = swap_backbone(FAMILIES['unet'][0], TINY)
    path = tmp_path / 'swapped.py'
    cfg.dump(path)
    read = Config.fromfile(path)
    assert read.to_dict() == cfg.to_dict()
    assert '_base_' not in path.read_text() and 'custom_imports' not in path.read_text()
    losses, _ = train_step(build_model(read), read, (64, 64))
    assert losses['loss'] > 0


def test_the_survey_counts_refusals_and_environments_apart():
    rows = [survey_config(FAMILIES[family][0], TINY) for family in ('san', 'unet', 'psanet')]
    assert [row.status for row in rows] == ['refused', 'swapped', 'swapped']
    text = table(rows)
    assert (
        '3 configs: 2 swapped, 1 refused, 0 crashed' in text
        and '3 families: 2 swapped (66.7 %)' in text
    )
    assert rows[1].built == 'yes' and (rows[2].built == 'yes' or 'psamask' in rows[2].built.lower())


def test_crashes_are_counted_as_crashes(monkeypatch):
    def broken(*args):
        raise RuntimeError('a bug of ours')

    path = FAMILIES['unet'][0]
    with monkeypatch.context() as patch:
        patch.setattr('swap_survey.run_skeleton', broken)
        row = survey_config(path, TINY)
        assert row.status == 'crashed' and 'a bug of ours' in row.reason
    monkeypatch.setattr('swap_survey.swap_backbone', broken)
    row = survey_config(path, TINY)
    assert row.status == 'crashed' and 'a bug of ours' in row.reason
    assert '1 crashed' in table([row]) and '* crashed: unet' in table([row])


def test_readers_of_every_head_follow_their_maps():
    """Every in_channels equals what the network really brings to that head."""
    for family in ('knet', 'ocrnet', 'fastfcn', 'stdc'):
        cfg = swap_backbone(FAMILIES[family][0], TINY)
        model = build_model(cfg).eval()
        with torch.no_grad():
            maps = model.extract_feat(torch.randn(1, 3, 64, 64))
        for key in ('decode_head', 'auxiliary_head'):
            for part in (r for head in head_list(cfg.model, key) for r in input_parts(head)):
                index, channels = part.get('in_index', -1), part['in_channels']
                indices = index if isinstance(index, (list, tuple)) else [index]
                channels = channels if isinstance(channels, (list, tuple)) else [channels]
                assert [maps[i].shape[1] for i in indices] == list(channels), (
                    family,
                    part['type'],
                )
