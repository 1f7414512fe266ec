"""Trained networks for other runtimes: exported graphs, integer networks, binary unrolling, NIR."""
from mmbsa.deploy.decompose import decompose
from mmbsa.deploy.export import export_aoti, export_onnx, export_torch

__all__ = ['decompose', 'export_aoti', 'export_onnx', 'export_torch']
