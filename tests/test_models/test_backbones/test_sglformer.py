"""SGLFormer: sizes as published, interleaved sub-maps, the full-size convolution of its head."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA
from torch import nn

from mmbsa.models.backbones import SGLFormer
from mmbsa.models.backbones.qkformer import BatchAsTime
from mmbsa.models.backbones.sglformer import Interleaved
from mmbsa.registry import MODELS
from mmbsa.spiking import stream

TINY = dict(embed_dims=16, num_heads=2)
CIFAR = dict(TINY, pooling='00011', first=6, bias=False, positions=64)


def build(arch=TINY, **kwargs):
    return checks.build('SGLFormer', arch, **kwargs)


def classifier(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(SGLFormer.classifier_cfg(CIFAR, 5, num_steps=2, **kwargs))


@pytest.mark.parametrize(
    'arch, classes, official, norms',
    [
        ('8-384', 1000, 16_248_856, 6 * 4 * 384),
        ('8-512', 1000, 28_671_016, 6 * 4 * 512),
        ('8-768', 1000, 64_024_648, 6 * 4 * 768),
        ('8-512-late', 1000, 28_671_016, 6 * 4 * 512),
        ('cifar-4-384', 10, 8_852_874, 0),
        ('cifar-4-384', 100, 8_887_524, 0),
        ('cifar10dvs-2-256', 10, 4_164_434, 0),
        ('dvs128-2-256', 11, 4_164_691, 0),
    ],
)
def test_published_sizes_without_what_is_never_used(arch, classes, official, norms):
    assert checks.parameters('SGLFormer', arch, classes) == official - norms


@pytest.mark.parametrize(
    'arch, size', [('cifar10dvs-2-256', 4_066_130), ('dvs128-2-256', 4_066_387)]
)
def test_the_head_of_fewer_steps_is_smaller(arch, size):
    with torch.device('meta'):
        model = MODELS.build(
            SGLFormer.classifier_cfg(arch, 10 + arch.startswith('dvs128'), num_steps=10)
        )
    assert sum(p.numel() for p in model.parameters()) == size


@pytest.mark.parametrize('arch', [TINY, CIFAR], ids=['imagenet', 'cifar'])
@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 2, None), ((33, 47), 1, BSA), ((64, 16), 2, BSA)]
)
def test_shapes_and_gradients(arch, size, num_steps, attention):
    checks.check_shapes_and_gradients(
        build(arch, num_steps=num_steps, attention=attention, in_channels=5), size
    )


def test_sub_maps_hold_every_second_pixel():
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    x = torch.arange(2 * 3 * 4 * 6 * 8.0).view(2, 3, 4, 6, 8)
    assert torch.equal(Interleaved(Look())(x), x), 'without a branch nothing changes'
    (part,) = seen
    expected = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=2).flatten(
        1, 2
    )
    assert torch.equal(part, expected)
    odd = torch.rand(2, 3, 4, 5, 7)
    assert torch.equal(Interleaved(Look())(odd), odd)


def test_the_stream_is_a_growing_sum_of_spikes():
    levels = checks.awake(build(num_steps=2))(checks.image())
    for level in levels[:3]:
        assert level.unique().tolist() == [0.0, 1.0]
    assert torch.equal(levels[3], levels[3].round()) and levels[3].max() > 2


def test_bsa_replaces_the_attention_alone():
    checks.check_bsa_swaps_the_attention_and_nothing_else(
        build(num_steps=2), build(num_steps=2, attention=BSA), 3
    )


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('SGLFormer', TINY, num_steps=2)


def test_drop_path():
    checks.check_drop_path(build(drop_path_rate=0.6, num_steps=2))


def test_quirks_make_a_sample_depend_on_its_neighbours():
    late = dict(TINY, pooling='01111')
    for arch, number in ((TINY, 2), (late, 3)):
        model = checks.awake(build(arch, num_steps=3, official_quirks=True))
        assert sum(isinstance(m, BatchAsTime) for m in model.modules()) == number
        x = checks.image(batch=4)
        with torch.no_grad():
            assert not torch.equal(model(x)[-1][:, :2], model(x[[2, 3, 0, 1]])[-1][:, 2:])


def test_full_size_convolution_reads_all_positions_and_steps():
    model = classifier().eval()
    maps = torch.rand(2, 3, 16, 8, 8)
    conv, norm = model.full_size.conv, model.full_size.norm
    summed = (
        torch.einsum('tbchw,chwt->bc', maps, conv.weight[:, 0].unflatten(1, (8, 8))) + conv.bias
    )
    expected = model.head(norm(summed[..., None, None])[..., 0, 0])
    torch.testing.assert_close(model.forward_head(maps), expected)


def test_full_size_convolution_names_what_it_does_not_take():
    model = classifier()
    with pytest.raises(ValueError, match='arch.positions=16'):
        model(torch.rand(2, 3, 16, 16))
    with pytest.raises(ValueError, match='combines all steps'):
        stream(model, torch.rand(2, 1, 3, 32, 32))
    out, _ = stream(model.backbone, torch.rand(2, 1, 3, 32, 32))
    assert len(out[-1]) == 1


@pytest.mark.parametrize(
    'arch, words',
    [
        (dict(TINY, pooling='1111'), 'five digits'),
        (dict(TINY, depth=0), 'arch.depth=0'),
        (dict(TINY, embed_dims=18), 'multiple of 4'),
        (dict(num_heads=2), 'embed_dims'),
        (dict(TINY, heads=1), 'heads'),
    ],
)
def test_bad_arch_is_named(arch, words):
    with pytest.raises(ValueError, match=words):
        build(arch)
