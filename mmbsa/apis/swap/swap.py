"""One call that makes a stock segmentation config spiking."""
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS

from mmbsa.apis.swap.heads import EXACT, REFUSED, head_list, readers, rewrite_reader, type_name
from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.apis.swap.load import load_config
from mmbsa.apis.swap.measure import KNOWN_STRIDES, Outputs, default_scope, measure_backbone, spiking_levels
from mmbsa.apis.swap.names import arguments, backbone_config
from mmbsa.apis.swap.plan import Plan, plan_with_neck, plan_without_neck
from mmbsa.apis.swap.schedule import drop_leftovers, fix_optimizer


def _check(model: dict) -> None:
    """Refuse models whose parts cannot read feature maps."""
    for key in ('decode_head', 'auxiliary_head'):
        for head in head_list(model, key):
            if type_name(head) in REFUSED:
                raise SwapError(f'{key} {type_name(head)} cannot read a spiking backbone: {REFUSED[type_name(head)]}')
    if not isinstance(model.get('backbone'), dict):
        raise SwapError(f"model {type_name(model)} has no 'backbone' to swap")
    if str(model['backbone'].get('type')).startswith('mmbsa.'):
        raise SwapError(f'backbone {model["backbone"]["type"]} is spiking already: swap the stock config that it came from')
    if not head_list(model, 'decode_head'):
        raise SwapError(f"model {type_name(model)} has no 'decode_head': expected a segmentor")


def _image_sizes(cfg: dict) -> tuple[tuple[int, int], ...]:
    """Image sizes that the config names, for backbones that run at one size only."""
    model = cfg['model']
    named = (model['backbone'].get('img_size'), (model.get('data_preprocessor') or {}).get('size'), cfg.get('crop_size'))
    sizes = [(size, size) if isinstance(size, int) else tuple(size) for size in named if size]
    return tuple(dict.fromkeys(sizes))


def _assumed(model: dict, strides: tuple[int, ...]) -> Outputs | None:
    """Levels of a backbone that cannot be run, of given strides; None unless a consumer names as many channels."""
    parts = [model.get('neck') or {}, *(r for h in head_list(model, 'decode_head') for r in readers(h))]
    channels = next((list(p['in_channels']) for p in parts if isinstance(p.get('in_channels'), (list, tuple))), [])
    return Outputs(tuple(map(Level, channels, strides))) if len(channels) == len(strides) else None


def _by_index(model: dict) -> bool:
    """Whether anything picks maps by position, which fits only a backbone that returns the same in train and eval mode."""
    heads = (r for key in ('decode_head', 'auxiliary_head') for h in head_list(model, key) for r in readers(h))
    return bool(model.get('neck')) or any('in_index' in reader for reader in heads)


def _old_outputs(cfg: dict, scope: str) -> Outputs:
    """What the replaced backbone returns: measured; where it does not build here, a pyramid of strides 4, 8, 16, 32."""
    name = type_name(cfg['model']['backbone'])
    if name in KNOWN_STRIDES and (known := _assumed(cfg['model'], KNOWN_STRIDES[name])):
        return known
    try:
        return measure_backbone(cfg['model']['backbone'], scope, _image_sizes(cfg), not _by_index(cfg['model']))
    except SwapError:
        raise
    except Exception as error:  # a missing package, an unknown type, an unusual input: all end in the assumption
        pyramid = _assumed(cfg['model'], (4, 8, 16, 32))
        if pyramid is None:
            raise SwapError(f'backbone {name} does not build here ({error}), and its levels cannot be told from the '
                            'config; install what it needs') from error
        return pyramid


def _synchronised(value: Any) -> bool:
    """Whether a model config uses synchronised norms anywhere."""
    if isinstance(value, dict):
        return type_name(value) in ('SyncBN', 'SyncBatchNorm') or any(_synchronised(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_synchronised(item) for item in value)


def _new_backbone(given: dict, plan: Plan, indices: list[int], model: dict) -> dict:
    """Config of the spiking backbone: levels from the plan; input channels, norm and checkpointing from the old one."""
    old = model['backbone']
    with default_scope():
        accepted = arguments(ROOT_MODELS.get(given['type']))
    inherited = {}
    image = old['in_channels'] if isinstance(old.get('in_channels'), int) else 3
    if 'in_channels' in accepted and accepted['in_channels'].default != image:
        inherited['in_channels'] = image
    if _synchronised(model):
        inherited['norm_cfg'] = dict(type='SyncBN')
    if old.get('with_cp'):
        inherited['with_cp'] = True
    inherited = {key: value for key, value in inherited.items() if key in accepted and key not in given}
    return {**given, **inherited, 'out_indices': tuple(indices[j] for j in plan.levels)}


def swap_backbone(cfg: Config | dict | str | Path, backbone: str | dict, readout: str = 'mean') -> Config:
    """Put a spiking backbone into a stock mmseg 1.x config.

    The replaced backbone is measured on the meta device: stride, channels and depth of every map it returns, and whether
    it had decoded them by itself. Each map is matched with a level of the new backbone, time is read out by
    ``mmbsa.TemporalReadout`` (which wraps the config's own neck), and every head follows: in_channels, in_index, strides.
    Where heads rely on more than that (maps that the old backbone had decoded, as in U-Net and BiSeNet; class tokens; a
    single tensor in eval mode), ``mmbsa.LevelAdapter`` provides it.
    Dataset, pipelines, data preprocessor, schedule, train_cfg and test_cfg stay; what only fitted the old backbone
    (pretrained weights, layer-wise learning rates, its parameters' names) goes.

    Args:
        cfg: mmengine Config, dict, path, or ``'mmseg::family/name.py'``. Never changed.
        backbone: short name (``'espikeformer-m-bsa'``), registered type, or config of a backbone of mmbsa. Where the config
            has ``out_indices``, only those levels are used.
        readout: mode of ``mmbsa.TemporalReadout``.

    Returns:
        A self-contained Config; ``dump`` writes a file that mmseg's own tools train.

    Raises:
        SwapError: the config cannot be swapped; the message names the part and the reason.
    """
    cfg = load_config(cfg)
    model, scope = cfg['model'], cfg.get('default_scope') or 'mmseg'
    _check(model)
    given = backbone_config(backbone)
    levels = spiking_levels(given)
    outputs = _old_outputs(cfg, scope)
    if model.get('neck'):
        plan = plan_with_neck(model['neck'], outputs, list(levels.values()), scope)
    else:
        plan = plan_without_neck(model, outputs, list(levels.values()))
    for key in ('decode_head', 'auxiliary_head'):
        for head in head_list(model, key):
            for reader in readers(head):
                if plan.maps is not None and outputs.eval_out is None:
                    old = None if model.get('neck') else outputs.levels
                    rewrite_reader(reader, plan.maps, plan.places, len(plan.maps) if old is None else len(old), old)
                reader.update(EXACT.get(type_name(reader), (None, {}))[1])

    removed = [model['backbone'], model.pop('pretrained', None)]
    model['backbone'] = _new_backbone(given, plan, list(levels), model)
    if isinstance(model.get('init_cfg'), dict) and model['init_cfg'].get('type') == 'Pretrained':
        removed.append(model.pop('init_cfg'))
    model['neck'] = dict(type='mmbsa.TemporalReadout', mode=readout, **({'neck': plan.neck} if plan.neck else {}))
    if isinstance(cfg.get('optim_wrapper'), dict):
        fix_optimizer(cfg['optim_wrapper'])
    drop_leftovers(cfg, removed)
    return Config(cfg)
