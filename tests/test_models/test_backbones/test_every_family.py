"""What every family has to do, on its reduced instance (``small_arch``)."""

import family_checks as checks
import pytest
from family_checks import BSA

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.registry import MODELS

FAMILIES = sorted(
    name
    for name, cls in MODELS.module_dict.items()
    if isinstance(cls, type) and issubclass(cls, BaseSpikingBackbone) and cls.arch_settings
)


def build(family, **kwargs):
    kwargs = dict(num_steps=2) | kwargs
    return checks.build(family, MODELS.get(f'mmbsa.{family}').small_arch, **kwargs)


@pytest.mark.parametrize('frozen', ['none', 'stem', 'two', 'all'])
@pytest.mark.parametrize('family', FAMILIES)
def test_frozen_stages(family, frozen):
    stages = len(build(family).stages)
    frozen = dict(none=-1, stem=0, two=2, all=stages)[frozen]
    checks.check_frozen(build(family, frozen_stages=frozen), frozen)


@pytest.mark.parametrize('attention', [None, BSA], ids=['native', 'bsa'])
@pytest.mark.parametrize('family', FAMILIES)
def test_checkpointing_changes_nothing(family, attention):
    checks.check_checkpointing(
        *(build(family, attention=attention, with_cp=with_cp) for with_cp in (False, True))
    )


@pytest.mark.parametrize('family', FAMILIES)
def test_repeated_forwards_agree_and_samples_are_independent(family):
    checks.check_repeatable_and_independent(build(family, num_steps=3))


@pytest.mark.parametrize('family', FAMILIES)
def test_event_frames(family):
    checks.check_event_frames(build(family, num_steps=3, in_channels=2))
