"""Classification: classifiers that need no mm package and are also timm models, and a classifier
and a head for mmpretrain."""

from importlib.util import find_spec

from mmbsa.models.classification.presets import Preset, presets
from mmbsa.models.classification.spiking_classifier import SpikingClassifier, readout_args
from mmbsa.models.classification.timm_adapter import TimmSpikingClassifier

__all__ = ['Preset', 'SpikingClassifier', 'TimmSpikingClassifier', 'presets', 'readout_args']

if find_spec('mmpretrain'):
    from mmbsa.models.classification.data_preprocessor import EventDataPreprocessor
    from mmbsa.models.classification.event_mixing import EventCutMix, EventMix
    from mmbsa.models.classification.head import SpikingClsHead
    from mmbsa.models.classification.image_classifier import SpikingImageClassifier
    from mmbsa.models.classification.losses import TETLoss
    from mmbsa.models.classification.teacher import TimmTeacher

    __all__ += [
        'EventCutMix',
        'EventDataPreprocessor',
        'EventMix',
        'SpikingClsHead',
        'SpikingImageClassifier',
        'TETLoss',
        'TimmTeacher',
    ]
