"""Pipeline steps."""
from mmbsa.datasets.transforms.draw_scene import DrawScene

__all__ = ['DrawScene']
