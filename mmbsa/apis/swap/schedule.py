"""What in a schedule only fitted the replaced backbone: pretrained weights, layer-wise rates,
parameter names."""

from collections.abc import Iterator
from typing import Any

from mmbsa.utils.types import type_name

#: optimizer constructors that look up a parameter's layer by the replaced backbone's names.
LAYER_WISE = ('LayerDecayOptimizerConstructor', 'LearningRateDecayOptimizerConstructor')
#: parameters that plain and shifted-window transformers have and convolutional projections do not.
TRANSFORMER_NAMES = (
    'pos_embed',
    'absolute_pos_embed',
    'relative_position_bias_table',
    'cls_token',
    'pos_block',
    'img_encoder',
)
#: extensions of packages that only served the replaced backbone.
BACKBONE_PACKAGES = ('mmpretrain', 'mmcls')


def _values(value: Any) -> Iterator[Any]:
    """All values inside a config, containers included."""
    yield value
    if isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _values(item)


def fix_optimizer(wrapper: dict) -> None:
    """Take out of an optim wrapper, in place, what only fits the replaced backbone; the rest of the
    schedule stays.

    * Layer-wise decay constructors count the old backbone's layers. They leave; the weight decay
      they spared norms and biases is spared in mmengine's terms.
    * ``custom_keys`` below ``backbone.`` and those naming parameters of other transformers leave;
      ``backbone`` itself, with its learning rate factor, and the heads' keys stay.
    * A key ``norm`` without decay is also said as ``norm_decay_mult=0``, which does not depend on
      names.
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
    """Drop, in place, checkpoints and imports that only the replaced backbone used.

    Args:
        cfg: whole config, after the swap.
        removed: the parts of the model that were taken out.
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
