"""Integer reference: a folded, quantised network on int64 arrays, which judges faster engines and
hardware; and the same network as an ONNX graph of integer operations."""

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
