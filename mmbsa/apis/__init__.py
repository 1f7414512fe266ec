"""Python interface: ``swap_backbone``, inferencers, packages ``ablation`` and ``tracking``."""

from importlib import import_module

#: public name -> module that defines it.
_MODULES = {
    'ClassificationInferencer': 'inferencers',
    'DetectionInferencer': 'inferencers',
    'Inferencer': 'inferencers',
    'SegmentationInferencer': 'inferencers',
    'SwapError': 'swap',
    'find_config': 'inferencers',
    'swap_backbone': 'swap',
}
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    """Import a module when one of its names is used.

    The modules import all models, which the table of an ablation does not need.
    """
    if name in _MODULES:
        return getattr(import_module(f'mmbsa.apis.{_MODULES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
