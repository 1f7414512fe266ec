"""Whole models that need no mm framework."""
from mmbsa.models.classifiers.spiking_classifier import SpikingClassifier, SpikingFeatures

__all__ = ['SpikingClassifier', 'SpikingFeatures']
