"""Swap of detectors and classifiers: modules after the backbone get maps as before."""

import inspect
from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS as ROOT_MODELS

from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.apis.swap.match import match
from mmbsa.apis.swap.measure import Outputs, measure_neck
from mmbsa.apis.swap.plan import Plan, adapter, scoped
from mmbsa.utils.types import type_name

#: packages whose models are swapped here, and the module that their configs import first, or None.
SCOPES = {'mmdet': 'mmbsa.utils.mmcv_ops', 'mmpretrain': None}
#: keys of a model that contain a whole model: trackers and semi-supervised detectors.
NESTED = ('detector',)
#: necks that need more than maps from their backbone, with the reason.
REFUSED = {
    'RFP': 'it reads the image from its backbone, and runs further backbones of the same kind',
}
#: the neck that converts a map to the input of a linear head.
POOLING = 'GlobalAveragePooling'


def backbone_owner(model: dict) -> dict:
    """Return the part of a model config with the backbone: the model, or a tracker's detector.

    Raises:
        SwapError: there is no backbone.
    """
    for part in (model, *(model[key] for key in NESTED if isinstance(model.get(key), dict))):
        if isinstance(part.get('backbone'), dict) and part['backbone'].get('type'):
            return part
    raise SwapError(f"model {type_name(model)} has no 'backbone' with a type to swap")


def neck_list(part: dict) -> list[dict]:
    """Return the necks of a model, in order."""
    necks = part.get('neck') or []
    return list(necks) if isinstance(necks, (list, tuple)) else [necks]


def _takes(cls: type, name: str) -> bool:
    """Return whether the constructor of a class accepts an argument.

    Base classes that receive its ``**kwargs`` are included.
    """
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters if '__init__' in vars(base) else {}
        if name in parameters:
            return True
        if parameters and all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
            return False
    return False


def check_necks(part: dict, scope: str) -> None:
    """Raise SwapError for models that need more than maps, or that do not accept a neck.

    Args:
        part: part of the model config with the backbone.
        scope: default scope of the config.
    """
    try:
        with ROOT_MODELS.switch_scope_and_registry(scope) as registry:
            cls = part['type'] if inspect.isclass(part['type']) else registry.get(part['type'])
    except Exception:  # an unknown type or a missing package: building the model reports it
        cls = None
    if inspect.isclass(cls) and not _takes(cls, 'neck'):
        raise SwapError(f'model {type_name(part)} takes no neck, which the time readout needs')
    for neck in neck_list(part):
        if type_name(neck) in REFUSED:
            raise SwapError(
                f'neck {type_name(neck)} cannot read a spiking backbone: {REFUSED[type_name(neck)]}'
            )


def _rewritten(neck: dict, old: Sequence[Level], widths: Sequence[int], scope: str) -> dict | None:
    """Return the neck with other channels, or None if its output then changes."""
    channels = neck.get('in_channels')
    if not isinstance(channels, (list, tuple)) or list(channels) != [
        level.channels for level in old
    ]:
        return None
    changed = dict(neck, in_channels=type(channels)(widths))
    try:
        before = measure_neck(neck, old, scope)
        after = measure_neck(
            changed, [Level(c, level.stride) for c, level in zip(widths, old)], scope
        )
    # a neck may raise any error if other arguments depend on the old channels, or without its op
    except Exception:
        return None
    return (
        changed
        if [(m.channels, m.stride) for m in before] == [(m.channels, m.stride) for m in after]
        else None
    )


def _reads_vectors(part: dict, old: Sequence[Level]) -> bool:
    """Return whether a classifier is a pooling and a head with the last map's channels."""
    head = part.get('head')
    necks, channels = neck_list(part), head.get('in_channels') if isinstance(head, dict) else None
    return (
        [type_name(neck) for neck in necks] in ([], [POOLING])
        and len(old) == 1
        and isinstance(channels, int)
        and channels == old[-1].channels
    )


def plan_maps(
    part: dict, outputs: Outputs, new: Sequence[Level], scope: str, norm_cfg: dict | None
) -> Plan:
    """Return the levels of the new backbone, and the modules that convert them to the old maps.

    Strides are exactly the old ones, since anchors and RoIs depend on them. The first neck gets the
    new channels if possible; otherwise convolutions restore the old ones.

    Args:
        part: result of :func:`backbone_owner`; its head is changed in place if it reads the
            channels of the last map.
        outputs: outputs of the old backbone.
        new: levels of the new backbone, fine to coarse.
        scope: ``'mmdet'`` or ``'mmpretrain'``.
        norm_cfg: norm of the convolutions.

    Raises:
        SwapError: modules after the backbone need more than maps, or more than its vector.
    """
    old = outputs.levels
    if outputs.eval_out is not None or outputs.tokens:
        raise SwapError(
            f'modules after backbone {type_name(part["backbone"])} need more than its plain maps'
        )
    pooled = scope == 'mmpretrain' and _reads_vectors(part, old)
    if outputs.vector and not pooled:
        raise SwapError(
            f'backbone {type_name(part["backbone"])} returns one vector per image, which is read '
            f'by more than a '
            'linear head'
        )
    matched = [len(new) - 1] if pooled else match(old, new)
    used = sorted(set(matched))
    widths = [new[j].channels for j in matched]
    plan = Plan(used)
    if pooled:
        part['head']['in_channels'] = widths[-1]
        plan.neck = scoped(neck_list(part)[0] if part.get('neck') else dict(type=POOLING), scope)
        part.pop('neck', None)
        return plan
    necks = neck_list(part)
    first = _rewritten(necks[0], old, widths, scope) if necks else None
    strides = [level.stride for level in old]
    inner = first and scoped(first, scope)
    if first is not None:
        part['neck'] = necks[1:]
    if first is None or matched != used or [new[j].stride for j in matched] != strides:
        channels = None if first is not None else [level.channels for level in old]
        inner = adapter(
            [new[j] for j in used],
            [used.index(j) for j in matched],
            strides=strides,
            channels=channels,
            norm_cfg=norm_cfg if channels else None,
            neck=inner,
        )
    plan.neck = inner
    return plan


def set_neck(part: dict, readout: dict) -> None:
    """Insert the temporal readout before the remaining necks."""
    rest = neck_list(part)
    part['neck'] = [readout, *rest] if rest else readout


def import_first(cfg: dict, module: str | None) -> None:
    """Add a module as the first import of a config."""
    if module is None:
        return
    imports: dict[str, Any] = cfg.setdefault(
        'custom_imports', dict(imports=[], allow_failed_imports=False)
    )
    named = imports.get('imports') or []
    named = [named] if isinstance(named, str) else list(named)
    imports['imports'] = [module, *(name for name in named if name != module)]
