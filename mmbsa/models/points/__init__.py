"""Classification of point clouds with mmpretrain's classifier; see docs/points.md."""

from mmbsa.models.points.attention import (
    BipolarPointAttention,
    PointAttention,
    PointVectorAttention,
)
from mmbsa.models.points.data_preprocessor import PointDataPreprocessor
from mmbsa.models.points.encoders import (
    PointDirectEncoder,
    PointEncoder,
    PointQueueEncoder,
    PointRandomEncoder,
    PointScanEncoder,
)
from mmbsa.models.points.head import PointClsHead
from mmbsa.models.points.mixture import MixtureNode
from mmbsa.models.points.spiking_point_transformer import SpikingPointTransformer

__all__ = [
    'BipolarPointAttention',
    'MixtureNode',
    'PointAttention',
    'PointClsHead',
    'PointDataPreprocessor',
    'PointDirectEncoder',
    'PointEncoder',
    'PointQueueEncoder',
    'PointRandomEncoder',
    'PointScanEncoder',
    'PointVectorAttention',
    'SpikingPointTransformer',
]
