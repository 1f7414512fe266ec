"""The ``type`` of a config, which may be a registered name or a class."""

from typing import Any

#: value of ``init_cfg.type`` for a checkpoint of pretrained weights.
PRETRAINED = ('Pretrained', 'PretrainedInit')


def type_name(cfg: Any) -> str:
    """Return the name of a config's type without its package.

    ``'mmbsa.EventMix'`` and the class both give ``'EventMix'``.

    Args:
        cfg: a config with ``type``, or a type. Without a type, the name is empty.
    """
    kind = cfg.get('type', '') if isinstance(cfg, dict) else cfg
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))).rpartition(
        '.'
    )[2]


def is_ours(cfg: Any) -> bool:
    """Return whether a config's type is from this package: ``'mmbsa.X'`` or one of its classes."""
    kind = cfg.get('type', '') if isinstance(cfg, dict) else cfg
    name = kind if isinstance(kind, str) else getattr(kind, '__module__', '')
    return name.startswith('mmbsa.')
