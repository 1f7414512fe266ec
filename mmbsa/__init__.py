"""mmbsa: Bipolar Self-attention and spiking transformers for OpenMMLab.

Importing this package is light: the ops, models and datasets load when mmengine's registries first
need them.
"""

from mmbsa.version import __version__

__all__ = ['__version__']
