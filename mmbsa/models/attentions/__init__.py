"""Attention kinds: the neurons of q, k, v and the output, and how they are combined.

The projections around an attention kind are part of the family.
"""

import inspect
import pkgutil
from importlib import import_module

from mmbsa.models.attentions.base import build_attention
from mmbsa.models.attentions.projected import ProjectedAttention
from mmbsa.spiking import AttentionKind

__all__ = ['ProjectedAttention', 'build_attention']
for _info in pkgutil.iter_modules(__path__):
    for _name, _cls in vars(import_module(f'{__name__}.{_info.name}')).items():
        if (
            inspect.isclass(_cls)
            and issubclass(_cls, AttentionKind)
            and _cls.__module__.startswith(__name__)
        ):
            globals()[_name] = _cls
            __all__.append(_name)
__all__ = sorted(set(__all__))
