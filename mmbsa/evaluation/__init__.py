"""Metrics for tracking and point clouds."""

from mmbsa.evaluation.point_accuracy import PointAccuracy
from mmbsa.evaluation.tracking_metric import TrackingMetric, get_rules
from mmbsa.evaluation.tracking_rules import (
    CURVES,
    RULES,
    THRESHOLDS,
    TrackingRules,
    curves,
    mean_curves,
    scores,
    sequence_errors,
)

__all__ = [
    'CURVES',
    'PointAccuracy',
    'RULES',
    'THRESHOLDS',
    'TrackingMetric',
    'TrackingRules',
    'curves',
    'get_rules',
    'mean_curves',
    'scores',
    'sequence_errors',
]
