"""Conversion of a stock config to a spiking network by one call."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmbsa.apis.swap.heads import (
    EXACT,
    REFUSED,
    Consumers,
    consumers,
    head_list,
    reads_time,
    rewrite_inputs,
)
from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.apis.swap.load import load_config
from mmbsa.apis.swap.maps import (
    SCOPES,
    backbone_owner,
    check_necks,
    import_first,
    neck_list,
    plan_maps,
    set_neck,
)
from mmbsa.apis.swap.measure import (
    KNOWN_STRIDES,
    Outputs,
    default_scope,
    measure_backbone,
    spiking_levels,
)
from mmbsa.apis.swap.names import backbone_config
from mmbsa.apis.swap.plan import Plan, plan_with_neck, plan_without_neck
from mmbsa.apis.swap.schedule import drop_leftovers, fix_optimizer
from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.registry import MODELS, resolve_type
from mmbsa.utils.types import PRETRAINED, is_ours, type_name

#: image sizes for backbones with one fixed size, in addition to those in the config.
USUAL_SIZES = (224, 384)


def _check(model: dict) -> None:
    """Raise SwapError for models with heads that cannot read feature maps."""
    for key in ('decode_head', 'auxiliary_head'):
        for head in head_list(model, key):
            if type_name(head) in REFUSED:
                raise SwapError(
                    f'{key} {type_name(head)} cannot read a spiking backbone: '
                    f'{REFUSED[type_name(head)]}'
                )
    if not head_list(model, 'decode_head'):
        raise SwapError(
            f"model {type_name(model)} has no 'decode_head': expected a segmentor, or a config of "
            "mmdet or mmpretrain with its 'default_scope'"
        )


def _image_sizes(cfg: dict, part: dict) -> tuple[tuple[int, int], ...]:
    """Return the image sizes in the config, for backbones with one fixed size."""
    model, backbone = cfg['model'], part['backbone']
    named = (
        backbone.get('img_size'),
        backbone.get('pretrain_img_size'),
        (model.get('data_preprocessor') or {}).get('size'),
        cfg.get('crop_size'),
        *USUAL_SIZES,
    )
    sizes = [(size, size) if isinstance(size, int) else tuple(size) for size in named if size]
    return tuple(dict.fromkeys(sizes))


def _assumed(model: dict, read_by: Consumers, strides: tuple[int, ...]) -> Outputs | None:
    """Return the levels of a backbone that cannot run, with given strides.

    The result is None if no consumer lists the same number of channels.
    """
    parts = [*neck_list(model)[:1], *read_by.main]
    channels = next(
        (list(p['in_channels']) for p in parts if isinstance(p.get('in_channels'), (list, tuple))),
        [],
    )
    return Outputs(tuple(map(Level, channels, strides))) if len(channels) == len(strides) else None


def _by_index(model: dict, read_by: Consumers) -> bool:
    """Return whether a module selects maps by position.

    This requires a backbone that returns the same maps in train and eval mode.
    """
    return bool(model.get('neck')) or any('in_index' in part for part in read_by.parts)


def _old_outputs(cfg: dict, part: dict, read_by: Consumers, scope: str) -> Outputs:
    """Return the outputs of the replaced backbone.

    They are measured. If the backbone does not build here, strides 4, 8, 16, 32 are assumed.
    """
    name = type_name(part['backbone'])
    if name in KNOWN_STRIDES and (known := _assumed(part, read_by, KNOWN_STRIDES[name])):
        return known
    try:
        return measure_backbone(
            part['backbone'], scope, _image_sizes(cfg, part), not _by_index(part, read_by)
        )
    except SwapError:
        raise
    except (
        Exception
    ) as error:  # a missing package, an unknown type, an unusual input: use the assumption
        pyramid = _assumed(part, read_by, (4, 8, 16, 32))
        if pyramid is None:
            raise SwapError(
                f'backbone {name} does not build here ({error}), and the config does not determine '
                'its levels; install the packages that it needs'
            ) from error
        return pyramid


def _synchronised(value: Any) -> bool:
    """Return whether a model config uses synchronised norms."""
    if isinstance(value, dict):
        return type_name(value) in ('SyncBN', 'SyncBatchNorm') or any(
            _synchronised(item) for item in value.values()
        )
    return isinstance(value, (list, tuple)) and any(_synchronised(item) for item in value)


def _preset_channels(backbone: dict) -> int:
    """Return the input channels of a backbone of mmbsa whose config does not set them."""
    with default_scope():
        family = resolve_type(backbone, BaseSpikingBackbone, 'backbone', MODELS)
    arch = backbone.get('arch') or family.default_arch
    spec = family.arch_settings.get(arch, {}) if isinstance(arch, str) else arch
    return {**family.defaults, **spec}.get('in_channels', 3)


def _new_backbone(given: dict, plan: Plan, indices: list[int], model: dict) -> dict:
    """Return the config of the spiking backbone.

    Levels come from the plan; input channels, norm and checkpointing come from the old backbone.
    """
    old = model['backbone']
    inherited = {}
    image = old['in_channels'] if isinstance(old.get('in_channels'), int) else 3
    if image != _preset_channels(given):
        inherited['in_channels'] = image
    if _synchronised(model):
        inherited['norm_cfg'] = dict(type='SyncBN')
    if old.get('with_cp'):
        inherited['with_cp'] = True
    inherited = {key: value for key, value in inherited.items() if key not in given}
    return {**given, **inherited, 'out_indices': tuple(indices[j] for j in plan.levels)}


def swap_backbone(
    cfg: Config | dict | str | Path, backbone: str | dict, readout: str = 'mean'
) -> Config:
    """Replace the backbone of a stock config of mmseg, mmdet or mmpretrain by a spiking one.

    The packages are mmseg 1.x, mmdet 3.x and mmpretrain 1.x.

    The replaced backbone is measured on the meta device: stride, channels and depth of every map,
    and whether the map is decoded from coarser maps. Each map is matched with a level of the new
    backbone. ``mmbsa.TemporalReadout`` removes the time axis; it contains the config's neck.

    * mmseg: all heads are updated: in_channels, in_index, strides. If heads need more (maps that
      the old backbone decoded, as in U-Net and BiSeNet; class tokens; a single tensor in eval
      mode), ``mmbsa.LevelAdapter`` provides it. Spiking heads of mmbsa read the time axis
      themselves and get no readout.
    * mmdet, and models of mmpretrain that read a tuple of maps: the neck gets the new channels if
      possible, and ``mmbsa.LevelAdapter`` restores the old strides, on which anchors and RoIs
      depend. Without such a neck it restores the old channels as well. Classifiers that pool the
      last map, or read a class token, pool the new last map.

    Dataset, pipelines, data preprocessor, schedule, train_cfg and test_cfg do not change. Entries
    for the old backbone only (pretrained weights, layer-wise learning rates, parameter names) are
    removed.

    Args:
        cfg: mmengine Config, dict, path, or ``'mmseg::family/name.py'``; it is not changed.
        backbone: short name (``'espikeformer-m-bsa'``), registered type, or config of a backbone of
            mmbsa. If the config has ``out_indices``, only those levels are used.
        readout: mode of ``mmbsa.TemporalReadout``, ``'mean'`` by default.

    Returns:
        A self-contained Config; ``dump`` writes a file that the tools of the package can train.

    Raises:
        SwapError: the config cannot be swapped; the message names the module and the reason.
    """
    cfg = load_config(cfg)
    scope = cfg.get('default_scope') or 'mmseg'
    if scope not in ('mmseg', *SCOPES):
        raise SwapError(
            f'default_scope={scope!r}: expected a config of mmseg, {" or ".join(SCOPES)}'
        )
    if scope == 'mmseg':
        _check(cfg['model'])
    part = backbone_owner(cfg['model'])
    if is_ours(part['backbone']):
        raise SwapError(
            f'backbone {type_name(part["backbone"])} is spiking already: swap the stock config '
            'that it came from'
        )
    given = backbone_config(backbone)
    removed = [part['backbone'], part.pop('pretrained', None)]
    if scope == 'mmseg':
        _swap_segmentor(part, cfg, given, readout)
    else:
        _swap_maps(part, cfg, given, readout, scope)
        import_first(cfg, SCOPES[scope])
    for model in (part, cfg['model']):
        if type_name(model.get('init_cfg')) in PRETRAINED:
            removed.append(model.pop('init_cfg'))
    if isinstance(cfg.get('optim_wrapper'), dict):
        fix_optimizer(cfg['optim_wrapper'])
    drop_leftovers(cfg, removed)
    return Config(cfg)


def _readout(mode: str, plan: Plan) -> dict:
    return dict(
        type='mmbsa.TemporalReadout', mode=mode, **({'neck': plan.neck} if plan.neck else {})
    )


def _swap_segmentor(model: dict, cfg: dict, given: dict, readout: str) -> None:
    """Swap the backbone of a segmentor in place, and update its heads for the new maps."""
    levels = spiking_levels(given)
    read_by = consumers(model)
    outputs = _old_outputs(cfg, model, read_by, 'mmseg')
    if outputs.vector:
        raise SwapError(
            f'backbone {type_name(model["backbone"])} does not return (B, C, H, W) maps'
        )
    if model.get('neck'):
        plan = plan_with_neck(model['neck'], outputs, list(levels.values()), 'mmseg')
    else:
        plan = plan_without_neck(read_by, outputs, list(levels.values()))
    for part in read_by.parts:
        if plan.maps is not None and outputs.eval_out is None:
            old = None if model.get('neck') else outputs.levels
            number = len(plan.maps) if old is None else len(old)
            rewrite_inputs(part, plan.maps, plan.new_indices, number, old)
        part.update(EXACT.get(type_name(part), (None, {}))[1])
    model['backbone'] = _new_backbone(given, plan, list(levels), model)
    if plan.neck or not all(map(reads_time, read_by.heads)):
        model['neck'] = _readout(readout, plan)


def _swap_maps(part: dict, cfg: dict, given: dict, readout: str, scope: str) -> None:
    """Swap the backbone of a detector or classifier in place; later modules get maps as before."""
    check_necks(part, scope)
    levels = spiking_levels(given)
    outputs = _old_outputs(cfg, part, consumers(part), scope)
    norm_cfg = dict(type='SyncBN') if _synchronised(part) else None
    plan = plan_maps(part, outputs, list(levels.values()), scope, norm_cfg)
    part['backbone'] = _new_backbone(given, plan, list(levels), part)
    set_neck(part, _readout(readout, plan))
