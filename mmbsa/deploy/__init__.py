"""Deployment of trained networks: exported graphs, integer networks, binary unrolling, NIR."""

from mmbsa.deploy.decompose import decompose
from mmbsa.deploy.detection import BoxPredictor
from mmbsa.deploy.export import export_aoti, export_onnx, export_torch
from mmbsa.deploy.int8 import export_int8
from mmbsa.deploy.nir import export_nir
from mmbsa.deploy.unroll import unroll

__all__ = [
    'BoxPredictor',
    'decompose',
    'export_aoti',
    'export_int8',
    'export_nir',
    'export_onnx',
    'export_torch',
    'unroll',
]
