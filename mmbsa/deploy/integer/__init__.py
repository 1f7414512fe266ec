"""Integer reference: a folded, quantised network on int64 arrays, and its integer ONNX graph.

Faster engines and hardware are compared with the reference.
"""

from mmbsa.deploy.integer.fixed import Fixed, Rules
from mmbsa.deploy.integer.graph import export_integer
from mmbsa.deploy.integer.network import IntegerNetwork, Layer
from mmbsa.deploy.integer.tune import calibrate, fine_tune

__all__ = [
    'Fixed',
    'IntegerNetwork',
    'Layer',
    'Rules',
    'calibrate',
    'export_integer',
    'fine_tune',
]
