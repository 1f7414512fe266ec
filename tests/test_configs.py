"""Every segmentation config is loaded and built, every metafile entry tells the truth."""

from pathlib import Path

import config_files
import pytest
import torch
from config_files import ROOT, load

pytestmark = pytest.mark.seg
CONFIGS = config_files.of_scope('mmseg')


def transforms(pipeline):
    for step in pipeline:
        yield step
        for branch in step.get('transforms', []):
            yield from transforms(branch if isinstance(branch, list) else [branch])


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds_what_the_metafile_says(path):
    from mmseg.registry import MODELS

    entry = config_files.entry(path)
    cfg = load(path)
    model = MODELS.build(cfg.model)  # builds only: weights of init_cfg are not looked for
    assert sum(p.numel() for p in model.parameters()) == entry['Metadata']['Parameters']
    assert (
        cfg.train_dataloader.dataset.type.split('.')[-1].removesuffix('Dataset')
        == entry['Metadata']['Training Data']
    )
    for pipeline in (
        cfg.train_dataloader.dataset.pipeline,
        cfg.val_dataloader.dataset.pipeline,
        cfg.test_dataloader.dataset.pipeline,
        cfg.test_pipeline,
        cfg.tta_pipeline,
    ):
        from mmseg.registry import TRANSFORMS

        assert all(TRANSFORMS.build(step) for step in pipeline)
        assert [step['type'] for step in transforms(pipeline)][-1] == 'PackSegInputs'


@pytest.mark.parametrize('path', CONFIGS)
def test_config_holds_a_whole_run(path):
    from mmseg.registry import DATASETS, HOOKS, MODELS

    cfg = load(path)
    for key in (
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'val_cfg',
        'test_cfg',
        'val_evaluator',
        'test_evaluator',
        'visualizer',
        'tta_model',
        'env_cfg',
    ):
        assert cfg.get(key), f'{path} has no {key}'
    for hook in [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]:
        assert HOOKS.get(hook['type']), hook
    classes = DATASETS.get(cfg.train_dataloader.dataset.type).METAINFO['classes']
    assert cfg.model.decode_head.num_classes == len(classes)
    assert MODELS.get(cfg.tta_model.type)
    ends = [scheduler['end'] for scheduler in cfg.param_scheduler]
    assert (
        max(ends) == cfg.train_cfg.max_iters
        and cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    )
    crop = cfg.get('crop_size')
    assert tuple(cfg.model.data_preprocessor.size) == tuple(crop)
    assert [
        t['crop_size'] for t in cfg.train_dataloader.dataset.pipeline if t['type'] == 'RandomCrop'
    ] == [crop]


NATIVE = {
    path: config_files.native_config(path)
    for path in CONFIGS
    if path.startswith('configs/espikeformer/') and '_bsa_' in path
}


@pytest.mark.parametrize('path, native_path', NATIVE.items())
def test_bipolar_config_differs_from_its_native_config_in_one_line(path, native_path):
    bipolar, native = load(path).to_dict(), load(native_path).to_dict()
    assert bipolar['model']['backbone'].pop('attention') == dict(type='mmbsa.BipolarSelfAttention')
    assert bipolar == native


@pytest.mark.parametrize(
    'entry_point, path',
    [
        ('bsa_ade20k', 'espikeformer_m_fpn_bsa_4xb4-160k_ade20k-512x512'),
        ('bsa_ade20k_19m', 'espikeformer_l_fpn_bsa_4xb4-160k_ade20k-512x512'),
        ('bsa_camvid', 'espikeformer_3-64_fpn_bsa_b8-800i_camvid-160x160'),
        ('espikeformer_ade20k_10m', 'espikeformer_m_fpn_4xb4-160k_ade20k-512x512'),
        ('espikeformer_ade20k_19m', 'espikeformer_l_fpn_4xb4-160k_ade20k-512x512'),
        ('espikeformer_camvid', 'espikeformer_3-64_fpn_b8-800i_camvid-160x160'),
    ],
)
def test_entry_point_is_the_config_of_the_family(entry_point, path):
    whole = load(f'configs/{entry_point}.py').to_dict()
    assert whole == load(f'configs/espikeformer/{path}.py').to_dict()


SPIKE2FORMER = [
    path for path in CONFIGS if path.startswith('configs/spike2former/') and '_bsa_' in path
]


def native_of(path):
    """The config with the native attention; the quickstart is an entry point with a fixed name."""
    return path.replace('_bsa', '') if 'quickstart' in path else config_files.native_config(path)


@pytest.mark.parametrize('path', SPIKE2FORMER)
def test_bipolar_spike2former_differs_in_its_attentions(path):
    bipolar, native = load(path).to_dict(), load(native_of(path)).to_dict()
    assert bipolar.pop('attention') == dict(type='mmbsa.BipolarSelfAttention')
    for part in ('backbone', 'decode_head'):
        assert bipolar['model'][part].pop('attention') == dict(type='mmbsa.BipolarSelfAttention')
    assert bipolar == native


@pytest.mark.parametrize(
    'path, sizes',
    [
        ('espikeformer-l_4xb9-160k_ade20k-512x512', (19_609_904, 18_626_504)),
        ('espikeformer-l_4xb8-90k_cityscapes-512x1024', (19_576_237, 18_626_504)),
        ('meta-spikeformer-15m_t1_4xb9-160k_ade20k-512x512', (19_609_904, 14_751_208)),
        ('meta-spikeformer-15m_t1_4xb8-90k_cityscapes-512x1024', (22_740_397, 14_751_208)),
    ],
)
def test_spike2former_has_the_official_size(path, sizes):
    from mmseg.registry import MODELS

    with torch.device('meta'):
        model = MODELS.build(load(f'configs/spike2former/spike2former_{path}.py').model)
    assert sizes == tuple(
        sum(p.numel() for p in part.parameters()) for part in (model.decode_head, model.backbone)
    )


@pytest.mark.parametrize(
    'data, lr, batch, iterations, crop',
    [
        ('4xb9-160k_ade20k-512x512', 2e-4, 36, 160000, (512, 512)),
        ('4xb8-90k_cityscapes-512x1024', 2e-3, 32, 90000, (512, 1024)),
        ('4xb8-80k_voc12-512x512', 2e-3, 32, 80000, (512, 512)),
        ('4xb9-160k_coco-stuff164k-512x512', 2e-4, 36, 160000, (512, 512)),
    ],
)
def test_spike2former_is_trained_as_the_paper_says(data, lr, batch, iterations, crop):
    cfg = load(f'configs/spike2former/spike2former_meta-spikeformer-15m_t1_{data}.py')
    wrapper = cfg.optim_wrapper
    assert (wrapper.optimizer.type, wrapper.optimizer.lr, wrapper.optimizer.weight_decay) == (
        'AdamW',
        lr,
        0.005,
    )
    assert (
        wrapper.clip_grad.max_norm == 0.01
        and wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    )
    keys = wrapper.paramwise_cfg.custom_keys
    assert all(keys[key].decay_mult == 0 for key in ('query_feat', 'query_embed', 'level_embed'))
    assert 4 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    assert (cfg.train_cfg.max_iters, cfg.crop_size, cfg.param_scheduler[1].power) == (
        iterations,
        crop,
        1.0,
    )
    assert cfg.model.backbone.neuron.levels == cfg.model.decode_head.neuron.levels == 4


def test_ade20k_is_the_published_protocol():
    cfg = load('configs/bsa_ade20k.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 0.005)
    assert (cfg.train_cfg.max_iters, 4 * cfg.train_dataloader.batch_size, cfg.crop_size) == (
        160000,
        16,
        (512, 512),
    )
    assert (
        cfg.model.backbone.layer_scale == 1e-6
        and cfg.model.neck.out_channels == cfg.model.decode_head.channels == 128
    )
    assert cfg.train_dataloader.dataset.data_root == 'data/ade/ADEChallengeData2016'
    resize = cfg.train_pipeline[2]
    assert (resize.scale, resize.ratio_range) == ((2048, 512), (0.5, 2.0))


@pytest.mark.shared
@pytest.mark.parametrize('split, number', [('train', 5), ('val', 3)])
def test_ade20k_pipelines_on_real_photos(shared_path, split, number):
    from mmseg.registry import DATASETS

    cfg = load('configs/bsa_ade20k.py')
    data = DATASETS.build(
        {**cfg[f'{split}_dataloader'].dataset, 'data_root': str(shared_path('data/ade20k_samples'))}
    )
    assert len(data) == number
    for index in range(number):
        sample = data[index]
        labels = sample['data_samples'].gt_sem_seg.data.unique()
        assert set(labels.tolist()) <= {*range(150), 255} and len(labels) > 3
        shape = tuple(sample['inputs'].shape[1:])
        assert max(shape) <= 512 if split == 'train' else min(shape) == 512 or max(shape) == 2048
        if split == 'val':
            assert sample['data_samples'].gt_sem_seg.shape == sample['data_samples'].ori_shape


def test_camvid_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv('CAMVID_ROOT', 'some/where')
    cfg = load('configs/bsa_camvid.py')
    assert {cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')} == {
        'some/where'
    }
    monkeypatch.delenv('CAMVID_ROOT')
    assert load('configs/bsa_camvid.py').train_dataloader.dataset.data_root == 'data/camvid'


@pytest.mark.parametrize('path', [path for path in config_files.BASES if '/datasets/' not in path])
def test_no_base_is_left_over(path):
    """Those of data sets have tests of their own, and may wait for configs of users."""
    name = f'{Path(path).parent.name}/{Path(path).name}'
    others = [ROOT / user for user in (*config_files.ALL, *config_files.BASES) if user != path]
    beside = [user for user in others if user.parent == (ROOT / path).parent]
    assert any(f'{name}' in user.read_text() for user in others) or any(
        f"'./{Path(path).name}'" in user.read_text() for user in beside
    ), f'{path} is not used'


def test_metafiles_name_every_config():
    collections = {
        c['Name'] for content in config_files.metafiles().values() for c in content['Collections']
    }
    names = [entry['Name'] for entry in config_files.entries()]
    assert len(set(names)) == len(names)
    for entry in config_files.entries():
        assert (ROOT / entry['Config']).is_file() and Path(entry['Config']).stem == entry['Name']
        assert entry['In Collection'] in collections
        for result in entry.get('Results', []):
            assert result['source'] in ('ours', 'converted', 'paper'), 'a number needs its source'
            assert all(0 < value < 100 for value in result['Metrics'].values())
    assert {entry['Config'] for entry in config_files.entries()} == set(config_files.ALL)


def test_metafiles_as_mim_reads_them():
    load_index = pytest.importorskip(
        'modelindex.load_model_index', reason='model-index is not installed'
    )
    index = load_index.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert {model.name for model in index.models} == {
        entry['Name'] for entry in config_files.entries()
    }
