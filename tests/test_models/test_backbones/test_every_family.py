"""What every family has to do, on its reduced instance (``small_arch``)."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA
from torch import nn

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


@pytest.mark.parametrize('readout', [None, 'mean'])
@pytest.mark.parametrize('family', FAMILIES)
def test_gradients_of_norms_have_the_layout_of_their_maps(family, readout):
    """A mean over positions and layers of mm packages give contiguous gradients; batch norm and
    neurons are many times slower with a second layout."""
    model = build(family, readout=readout).train()
    layouts = []

    def watch(module, args, out):
        out.register_hook(lambda grad: layouts.append((grad.stride(), out.stride())))

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(watch)
    maps = model(torch.rand(2, 3, 64, 64))
    sum(x.flatten(-2).mean(-1).square().sum() for x in maps).backward()
    sizes = [own for _, own in layouts if len(own) == 4]
    assert len(sizes) > 5 and all(grad == own for grad, own in layouts), layouts
