"""What users call from Python beyond configs: ``swap_backbone``, inferencers, and the packages
``ablation`` and ``tracking``."""

from importlib import import_module

#: public name -> module that has it.
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
    """Load a module when a name of it is asked for: it brings all models along, which an ablation's
    table does not need."""
    if name in _MODULES:
        return getattr(import_module(f'mmbsa.apis.{_MODULES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
