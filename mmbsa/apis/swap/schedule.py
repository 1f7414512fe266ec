"""Removal of schedule entries for the replaced backbone only.

These are pretrained weights, layer-wise rates and parameter names.
"""

from collections.abc import Iterator
from typing import Any

from mmbsa.utils.types import type_name

#: optimizer constructors that find a parameter's layer by the names of the replaced backbone.
LAYER_WISE = ('LayerDecayOptimizerConstructor', 'LearningRateDecayOptimizerConstructor')
#: names of parameters in plain and shifted-window transformers, but not in convolutional ones.
TRANSFORMER_NAMES = (
    'pos_embed',
    'absolute_pos_embed',
    'relative_position_bias_table',
    'cls_token',
    'pos_block',
    'img_encoder',
)
#: extensions of packages that are useful for the replaced backbone only.
BACKBONE_PACKAGES = ('mmpretrain', 'mmcls')


def _values(value: Any) -> Iterator[Any]:
    """Yield all values inside a config, including containers."""
    yield value
    if isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _values(item)


def fix_optimizer(wrapper: dict) -> None:
    """Remove, in place, entries of an optim wrapper that fit only the replaced backbone.

    * Constructors of layer-wise decay count the old backbone's layers and are removed. If they set
      no weight decay for norms and biases, mmengine's keys do the same.
    * ``custom_keys`` below ``backbone.``, and those with parameter names of other transformers, are
      removed. ``backbone`` with its learning rate factor and the keys of heads remain.
    * For a key ``norm`` without decay, ``norm_decay_mult=0`` is added, which does not depend on
      names.

    Args:
        wrapper: config of the optim wrapper.
    """
    if type_name(wrapper.get('constructor')) in LAYER_WISE:
        del wrapper['constructor']
        wrapper['paramwise_cfg'] = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
        return
    paramwise = wrapper.get('paramwise_cfg')
    if not isinstance(paramwise, dict) or not paramwise.get('custom_keys'):
        return
    keys = {
        key: value
        for key, value in paramwise['custom_keys'].items()
        if not key.startswith('backbone.') and key not in TRANSFORMER_NAMES
    }
    if keys.get('norm', {}).get('decay_mult') == 0:
        paramwise.setdefault('norm_decay_mult', 0.0)
    if keys:
        paramwise['custom_keys'] = keys
    else:
        del paramwise['custom_keys']
        if not paramwise:
            del wrapper['paramwise_cfg']


def drop_leftovers(cfg: dict, removed: list[Any]) -> None:
    """Remove, in place, checkpoints and imports that only the replaced backbone used.

    Args:
        cfg: the whole config, after the swap.
        removed: the removed parts of the model.
    """
    checkpoints = {
        v
        for v in _values(removed)
        if isinstance(v, str) and ('://' in v or v.endswith(('.pth', '.pt')))
    }
    for key, value in list(cfg.items()):
        if key != 'model' and any(isinstance(v, str) and v in checkpoints for v in _values(value)):
            del cfg[key]
    if cfg.get('load_from'):
        cfg['load_from'] = None
    imports = cfg.get('custom_imports')
    if isinstance(imports, dict):
        types = [v for v in _values(cfg) if isinstance(v, str)]
        modules = imports.get('imports', [])
        modules = [modules] if isinstance(modules, str) else list(modules)
        kept = [
            m
            for m in modules
            if (package := m.partition('.')[0]) not in BACKBONE_PACKAGES
            or any(t.startswith(f'{package}.') and t != m for t in types)
        ]
        if kept:
            imports['imports'] = kept
        else:
            del cfg['custom_imports']
