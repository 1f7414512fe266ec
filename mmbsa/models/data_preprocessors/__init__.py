"""Data preprocessors for what stock ones cannot batch: event frames."""
from mmbsa.models.data_preprocessors.event_mixing import EventCutMix, EventMix
from mmbsa.models.data_preprocessors.events import EventDataPreprocessor

__all__ = ['EventCutMix', 'EventDataPreprocessor', 'EventMix']
