"""Pipeline steps."""

from mmbsa.datasets.transforms.augment_events import (
    EventCutout,
    EventDropFrames,
    EventFlip,
    EventRoll,
    EventRotate,
    EventShear,
    EventTranslate,
)
from mmbsa.datasets.transforms.draw_scene import DrawScene
from mmbsa.datasets.transforms.load_event_window import LoadEventWindow
from mmbsa.datasets.transforms.load_events import (
    ChannelsToMap,
    EventPictureToChannels,
    EventsToFrames,
    LoadEventFrames,
    LoadEvents,
)
from mmbsa.datasets.transforms.points import (
    DropPoints,
    JitterPoints,
    LoadPoints,
    NormalizePoints,
    PackPoints,
    RotatePoints,
    SamplePoints,
    ScalePoints,
    ShiftPoints,
    ShufflePoints,
)
from mmbsa.datasets.transforms.timm_rand_augment import TimmRandAugment
from mmbsa.datasets.transforms.to_sequence import ToSequence
from mmbsa.datasets.transforms.track_pair import CropTrackPair, LoadTrackPair, PackTrackInputs

__all__ = [
    'ChannelsToMap',
    'CropTrackPair',
    'DrawScene',
    'DropPoints',
    'EventCutout',
    'EventDropFrames',
    'EventFlip',
    'EventPictureToChannels',
    'EventRoll',
    'EventRotate',
    'EventShear',
    'EventsToFrames',
    'EventTranslate',
    'JitterPoints',
    'LoadEventFrames',
    'LoadEvents',
    'LoadEventWindow',
    'LoadPoints',
    'LoadTrackPair',
    'NormalizePoints',
    'PackPoints',
    'PackTrackInputs',
    'RotatePoints',
    'SamplePoints',
    'ScalePoints',
    'ShiftPoints',
    'ShufflePoints',
    'TimmRandAugment',
    'ToSequence',
]
