"""Whole models that need no mm framework; importing this package makes them timm models too."""
from mmbsa.models.classifiers.presets import Preset, presets
from mmbsa.models.classifiers.spiking_classifier import SpikingClassifier, SpikingFeatures, read_as
from mmbsa.models.classifiers.timm_adapter import TimmSpikingClassifier

__all__ = ['Preset', 'SpikingClassifier', 'SpikingFeatures', 'TimmSpikingClassifier', 'presets', 'read_as']
