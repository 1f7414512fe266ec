"""SWFormer: sizes as published, Haar transforms, ternary neurons, maps that fit and that do not."""

import family_checks as checks
import numpy as np
import pytest
import torch
from family_checks import BSA

from mmbsa.models.backbones import SWFormer
from mmbsa.models.layers import HaarMixer
from mmbsa.models.layers.haar import BlockWeights, HaarTransform, SharedConv2d, haar_matrix
from mmbsa.models.neurons import AsymmetricIFNode
from mmbsa.registry import MODELS
from mmbsa.spiking import TERNARY

TINY = dict(embed_dims=32, depth=2, groups=4)
EVENTS = dict(TINY, in_series=True, pooling='0011', in_channels=2)
NEURON = dict(type='mmbsa.AsymmetricIFNode')


def build(arch=TINY, **kwargs):
    return checks.build('SWFormer', arch, **kwargs)


@pytest.mark.parametrize(
    'arch, classes, official',
    [
        ('cifar-4-384', 10, 7_479_226),
        ('cifar-4-384-g16', 10, 7_022_458),
        ('cifar-4-384', 100, 7_513_876),
        ('cifar-4-384-g16', 100, 7_057_108),
        ('cifar10dvs-2-256', 10, 2_157_834),
        ('6-512', 1000, 21_806_632),
        ('8-512', 1000, 27_600_424),
    ],
)
def test_published_sizes(arch, classes, official):
    assert checks.parameters('SWFormer', arch, classes) == official


@pytest.mark.parametrize(
    'preset, groups, official',
    [
        ('cifar-4-384', 2, 8_733_370),
        ('cifar-4-384', 1, 13_453_498),
        ('cifar10dvs-2-256', 16, 2_056_266),
    ],
)
def test_published_sizes_of_other_groups(preset, groups, official):
    arch = dict(SWFormer.arch_settings[preset], groups=groups)
    assert checks.parameters('SWFormer', arch, 10) == official


def test_haar_matrix_is_orthonormal():
    for size in (1, 2, 4, 8, 16):
        matrix = haar_matrix(size)
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-6)
    entries = sorted({abs(float(value)) for value in haar_matrix(8).ravel()} - {0.0})
    assert [round(value, 5) for value in entries] == [0.35355, 0.5, 0.70711] and 2 * entries[
        0
    ] == entries[2]
    assert (haar_matrix(8)[0] > 0).all() and (haar_matrix(8)[-1] != 0).sum() == 2


@pytest.mark.parametrize('last', [False, True], ids=['contiguous', 'channels-last'])
def test_transforms_are_the_products_of_the_paper(last):
    """Forward H y with y = SN(x H^T); inverse H^T y with y = SN(SN(x) H)."""
    x = torch.randint(-1, 2, (3, 2, 4, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    if last:
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    matrix, neuron = torch.as_tensor(haar_matrix(8)), AsymmetricIFNode()
    torch.testing.assert_close(HaarTransform(NEURON)(x), matrix @ neuron(x @ matrix.T))
    expected = matrix.T @ neuron(neuron(2 * x) @ matrix)
    torch.testing.assert_close(HaarTransform(NEURON, inverse=True)(2 * x), expected)
    assert expected.any()


def test_ternary_neuron_has_two_thresholds():
    x = torch.tensor([[0.6, -0.4, -0.51, 2.0], [0.4, -0.2, 0.3, 0.5], [0.1, 0.3, 0.3, 0.5]])
    spikes, state = AsymmetricIFNode().run(x)
    assert spikes.tolist() == [[0.0, 0.0, -1.0, 1.0], [1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    torch.testing.assert_close(state, torch.tensor([0.1, 0.3, 0.6, 0.0]))
    assert AsymmetricIFNode().domain == TERNARY
    first, kept = AsymmetricIFNode().run(x[:1])
    assert torch.equal(torch.cat([first, AsymmetricIFNode().run(x[1:], kept)[0]]), spikes)
    with pytest.raises(ValueError, match='must be positive'):
        AsymmetricIFNode(v_negative=0.0)


def test_reset_of_the_ternary_neuron_is_in_the_graph():
    grads = []
    for detach in (False, True):
        x = torch.tensor([[1.2], [0.4]], requires_grad=True)
        AsymmetricIFNode(detach_reset=detach)(x)[1].sum().backward()
        grads.append(x.grad[0].item())
    assert grads[0] != 0 and grads[1] == 0


def test_block_weights_and_shared_convolutions_work_per_group():
    torch.manual_seed(0)
    x, weights, shared = (
        torch.randn(2, 8, 4, 4),
        BlockWeights(8, 2),
        SharedConv2d(4, 4, 3, padding=1),
    )
    expected = torch.einsum('ngdhw,gdk->ngkhw', x.unflatten(1, (2, 4)), weights.weight).flatten(
        1, 2
    )
    torch.testing.assert_close(weights(x), expected)
    plain = torch.nn.Conv2d(4, 4, 3, padding=1)
    plain.load_state_dict(shared.state_dict())
    torch.testing.assert_close(shared(x), torch.cat([plain(x[:, :4]), plain(x[:, 4:])], 1))


@pytest.mark.parametrize('arch', [TINY, EVENTS], ids=['images', 'events'])
@pytest.mark.parametrize('size, num_steps', [((64, 64), 2), ((32, 32), 1)])
def test_shapes_and_gradients(arch, size, num_steps):
    model = build(arch, num_steps=num_steps)
    checks.check_shapes_and_gradients(model, size)
    mixers = [m for m in model.modules() if isinstance(m, HaarMixer)]
    assert len(mixers) == 2 and (size == (32, 32) or mixers[0].weights.module.weight.grad.any())


@pytest.mark.parametrize('size', [(48, 48), (32, 64), (224, 224)])
def test_maps_that_do_not_fit_are_named(size):
    with pytest.raises(ValueError, match=f'power of two, got {size[0] // 16} x {size[1] // 16}'):
        build(num_steps=1)(checks.image(size))


def test_attention_in_place_of_the_mixer_takes_any_map():
    checks.check_shapes_and_gradients(build(attention=BSA, num_steps=2), (33, 47))
    assert not any(isinstance(m, HaarMixer) for m in build(attention=BSA).modules())


def test_neurons_of_the_transforms_follow_the_surrogate_and_the_threshold():
    surrogate = dict(type='ATan', alpha=5.0)
    model = build(
        dict(TINY, haar_threshold=0.9),
        neuron=dict(type='mmbsa.LIFNode', surrogate_function=surrogate),
    )
    nodes = [m for m in model.modules() if isinstance(m, AsymmetricIFNode)]
    assert len(nodes) == 2 * 3 and {(n.v_threshold, n.v_negative) for n in nodes} == {(0.9, 0.5)}
    assert {(type(n.surrogate_function).__name__, n.surrogate_function.alpha) for n in nodes} == {
        ('ATan', 5.0)
    }
    model = build(haar_neuron=dict(type='mmbsa.TernaryIFNode', v_threshold=0.7))
    assert sum(type(m).__name__ == 'TernaryIFNode' for m in model.modules()) == 6


def test_readout_has_a_neuron_for_imagenet_alone():
    for arch, named in (('6-512', 'LIFNode'), ('cifar-4-384', 'Identity')):
        with torch.device('meta'):
            model = MODELS.build(SWFormer.classifier_cfg(arch, 10))
        assert type(model.neuron).__name__ == named


@pytest.mark.parametrize(
    'arch, words',
    [
        (dict(TINY, groups=5), 'arch.groups=5'),
        (dict(TINY, pooling='11'), 'four digits'),
        (dict(depth=1), 'embed_dims'),
    ],
)
def test_bad_arch_is_named(arch, words):
    with pytest.raises(ValueError, match=words):
        build(arch)
