"""mmbsa: Bipolar Self-attention and spiking transformers for OpenMMLab.

``import mmbsa`` is fast: ops, models and datasets are imported when a registry of mmengine first
needs one of them.
"""

from mmbsa.version import __version__

__all__ = ['__version__']
