"""Models: importing this package registers every class of ours."""
from importlib.util import find_spec

from mmbsa.models import attentions, backbones, classifiers, encoders, layers, necks, neurons

__all__ = ['attentions', 'backbones', 'classifiers', 'encoders', 'layers', 'necks', 'neurons']

if find_spec('mmseg'):
    from mmbsa.models import decode_heads

    __all__ += ['decode_heads']

if find_spec('mmpretrain'):
    from mmbsa.models import cls_heads, data_preprocessors

    __all__ += ['cls_heads', 'data_preprocessors']
