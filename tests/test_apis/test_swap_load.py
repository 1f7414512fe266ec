"""Stock configs are found and read on both OpenMMLab stacks."""

import pytest
from mmengine.config import Config

from mmbsa.apis.swap import SwapError, load_config
from mmbsa.apis.swap.load import installed_configs, resolve

pytest.importorskip('mmseg')
pytestmark = pytest.mark.seg
NAME = 'mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py'


def test_names_resolve_to_the_installed_package():
    path = resolve(NAME)
    assert path.is_file() and path.is_relative_to(installed_configs('mmseg'))
    assert resolve(NAME.removesuffix('.py')) == path


def test_a_name_and_its_path_are_one_config_with_its_bases():
    cfg = load_config(NAME)
    assert cfg == load_config(resolve(NAME)) == load_config(str(resolve(NAME)))
    assert (
        cfg['model']['decode_head']['num_classes'] == 150 and cfg['train_cfg']['max_iters'] == 80000
    )
    assert '_base_' not in cfg


def test_bases_named_by_package_load_on_both_stacks(tmp_path):
    inner, outer = tmp_path / 'inner.py', tmp_path / 'outer.py'
    inner.write_text(
        "_base_ = ['mmseg::_base_/models/pspnet_r50-d8.py', 'mmseg::_base_/default_runtime.py']\n"
        'norm = _base_.model.backbone.norm_cfg\n'
    )
    outer.write_text("_base_ = './inner.py'\nmodel = dict(decode_head=dict(num_classes=7))\n")
    cfg = load_config(outer)
    assert cfg['model']['decode_head']['num_classes'] == 7
    assert cfg['model']['decode_head']['type'] == 'PSPHead' and cfg['default_scope'] == 'mmseg'
    assert '_scope_' not in repr(cfg), 'the default scope says it already'


def test_mmengine_is_left_as_it_was():
    before = Config.__dict__['_get_cfg_path']
    load_config(NAME)
    assert Config.__dict__['_get_cfg_path'].__func__ is before.__func__


def test_missing_extensions_do_not_matter(tmp_path):
    path = tmp_path / 'ext.py'
    path.write_text(
        "custom_imports = dict(imports=['no_such_package_at_all'], allow_failed_imports=False)\n"
        "model = dict(type='EncoderDecoder')\n"
    )
    assert load_config(path)['custom_imports']['imports'] == ['no_such_package_at_all']


def test_new_style_configs_become_plain(tmp_path):
    path = tmp_path / 'lazy.py'
    path.write_text(
        'from mmengine.config import read_base\n'
        'from mmseg.models import EncoderDecoder\nfrom torch.optim import SGD\n'
        'model = dict(type=EncoderDecoder)\noptimizer = dict(type=SGD, lr=0.1)\n'
    )
    cfg = load_config(path)
    assert (
        cfg['model']['type'] == 'mmseg.EncoderDecoder'
        and cfg['optimizer']['type'] == 'torch.optim.sgd.SGD'
    )


def test_containers_are_copied_and_kept():
    given = dict(model=dict(backbone=dict(out_indices=(0, 1), names=['a'])))
    cfg = load_config(given)
    cfg['model']['backbone']['names'].append('b')
    assert given['model']['backbone'] == dict(out_indices=(0, 1), names=['a'])
    assert cfg['model']['backbone']['out_indices'] == (0, 1)
    assert load_config(Config(given)) == given


@pytest.mark.parametrize(
    'given, words',
    [
        ('mmseg::pspnet/no_such.py', 'no_such.py'),
        ('/no/such/config.py', '/no/such/config.py'),
        ('no_such_package::a/b.py', 'no_such_package'),
        (dict(data=1), "no 'model'"),
        (3, 'int'),
    ],
)
def test_bad_input_is_named(given, words):
    with pytest.raises(SwapError, match=words):
        load_config(given)
