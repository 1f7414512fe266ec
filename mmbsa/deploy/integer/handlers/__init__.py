"""Integer forms of the operations of exported spiking networks."""

from mmbsa.deploy.integer.handlers import maps, pointwise, products
from mmbsa.deploy.integer.handlers.registry import Pixels, Real, apply, module_of

__all__ = [
    'Pixels',
    'Real',
    'apply',
    'maps',
    'module_of',
    'pointwise',
    'products',
]
