"""Short names of spiking backbones: ``{family}-{arch}``, or ``{family}-{arch}-{attention}``."""

from copy import deepcopy
from difflib import get_close_matches

from mmbsa.apis.swap.level import SwapError
from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind


def attention_names() -> dict[str, dict]:
    """Return suffix of a short name -> attention config, for every registered kind with a suffix.

    The native attention kind has no suffix.
    """
    return {
        cls.short_name: dict(type=f'mmbsa.{cls.__name__}')
        for cls in MODELS.module_dict.values()
        if isinstance(cls, type) and issubclass(cls, AttentionKind) and cls.short_name
    }


def backbone_names() -> dict[str, dict]:
    """Return short name -> config of all registered backbones and their presets.

    The name of a family is the name of its class in lower case.
    """
    names = {}
    for cls in MODELS.module_dict.values():
        if not (isinstance(cls, type) and issubclass(cls, BaseSpikingBackbone)):
            continue
        for arch in cls.arch_settings:
            short, cfg = (
                f'{cls.__name__.lower()}-{arch}',
                dict(type=f'mmbsa.{cls.__name__}', arch=arch),
            )
            names[short] = cfg
            names.update(
                {
                    f'{short}-{key}': dict(cfg, attention=kind)
                    for key, kind in attention_names().items()
                }
            )
    return names


def list_names() -> list[str]:
    """Return the short names, one line per family: ``espikeformer-{t,s,m,l}[-bsa]``."""
    presets: dict[str, list[str]] = {}
    for cfg in backbone_names().values():
        archs = presets.setdefault(cfg['type'].rpartition('.')[2].lower(), [])
        if cfg['arch'] not in archs:
            archs.append(cfg['arch'])
    return [
        f'{family}-{{{",".join(archs)}}}[-{"|".join(attention_names())}]'
        for family, archs in presets.items()
    ]


def backbone_config(backbone: str | dict) -> dict:
    """Return the config of a backbone given by short name, registered type or config.

    Args:
        backbone: a name of :func:`backbone_names` (``'espikeformer-m-bsa'``), a type
            (``'mmbsa.ESpikeFormer'``), or a config with ``type``.

    Raises:
        SwapError: the short name is unknown, or the config has no type.
    """
    if isinstance(backbone, str):
        if '.' in backbone:
            return dict(type=backbone)
        names = backbone_names()
        if backbone not in names:
            close = get_close_matches(backbone, names, 3) or ['espikeformer-m-bsa']
            raise SwapError(
                f'backbone={backbone!r} is unknown; there are {", ".join(close)}, ... (families: '
                f"{'; '.join(list_names())}), a registered type such as 'mmbsa.ESpikeFormer', or a "
                'config'
            )
        return deepcopy(names[backbone])
    if not isinstance(backbone, dict) or not backbone.get('type'):
        raise SwapError(f"backbone must be a name or a config with 'type', got {backbone!r}")
    return deepcopy(dict(backbone))
