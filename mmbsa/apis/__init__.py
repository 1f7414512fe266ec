"""What users call from Python beyond configs: ``swap_backbone``, ``SwapError`` and the package
``ablation``."""

from importlib import import_module

__all__ = ['SwapError', 'swap_backbone']


def __getattr__(name: str):
    """Load the swap when it is asked for: it brings all models along, which an ablation's table
    does not need."""
    if name in __all__:
        return getattr(import_module('mmbsa.apis.swap'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
