"""Datasets and pipeline steps."""
from mmbsa.datasets.camvid import CamVidDataset
from mmbsa.datasets.drawn_scenes import DrawnScenes

__all__ = ['CamVidDataset', 'DrawnScenes']
