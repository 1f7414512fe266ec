"""Metrics that no OpenMMLab package has."""

from mmbsa.evaluation.point_accuracy import PointAccuracy

__all__ = ['PointAccuracy']
