"""Backbones: from images or event frames to a tuple of feature maps.

Every module of this folder defines a family or a part of one.
"""

import inspect
import pkgutil
from importlib import import_module

from mmbsa.models.backbones.base import BaseSpikingBackbone

__all__ = []
for _info in pkgutil.iter_modules(__path__):
    for _name, _cls in vars(import_module(f'{__name__}.{_info.name}')).items():
        if (
            inspect.isclass(_cls)
            and issubclass(_cls, BaseSpikingBackbone)
            and _cls.__module__.startswith(__name__)
        ):
            globals()[_name] = _cls
            __all__.append(_name)
__all__ = sorted(set(__all__))
