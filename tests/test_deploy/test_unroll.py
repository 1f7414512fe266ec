import pytest
import torch
from family_checks import settled
from torch import nn

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy import unroll
from mmbsa.deploy.unroll import Collected, UnrolledNode, thermometer
from mmbsa.models.layers import fuse
from mmbsa.models.neurons import IntegerNode, SignedIntegerNode
from mmbsa.registry import MODELS
from mmbsa.spiking import domain_of

BSA = dict(type='mmbsa.BipolarSelfAttention')


def network(**backbone):
    """A classifier in float64 whose weights are multiples of 2^-8, so that no sum rounds."""
    cls = MODELS.get('mmbsa.ESpikeFormer')
    torch.manual_seed(0)
    model = fuse(
        settled(MODELS.build(cls.classifier_cfg(cls.small_arch, 10, **backbone))), merge=True
    )
    for parameter in model.parameters():
        parameter.data = (parameter.data * 256).round() / 256
    return model


def image(seed=0):
    x = 3 * torch.randn(
        2, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return (x * 16).round() / 16


@pytest.mark.parametrize('rounding', ['half_even', 'half_up'])
@pytest.mark.parametrize('cls', [IntegerNode, SignedIntegerNode])
@pytest.mark.parametrize('levels', [1, 3, 4])
def test_counts_of_spikes_are_the_integer(cls, levels, rounding):
    node = cls(levels=levels, norm=1, rounding=rounding)
    u = torch.cat(
        [
            torch.arange(-8, 8.5, 0.5),
            torch.randn(99, generator=torch.Generator().manual_seed(0)) * 4,
        ]
    ).double()
    currents = (
        torch.randn(levels, len(u), generator=torch.Generator().manual_seed(1))
        .mul(8)
        .round()
        .double()
        * levels
    )
    currents[-1] = levels * u - currents[:-1].sum(0)  # any currents whose mean is u
    unrolled = UnrolledNode(node)
    spikes = unrolled(currents)
    assert torch.equal(spikes.mean(0), node(u[None])[0])
    unrolled.domain.check(spikes, 'spikes')
    assert (spikes.abs()[:-1] >= spikes.abs()[1:]).all(), 'a thermometer'


def spikes_of(model, x):
    """Name -> spikes of every neuron outside of attention kinds, and of every attention kind."""
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, IntegerNode | UnrolledNode | Collected) or type(
            module
        ).__name__.endswith('Attention'):
            module.register_forward_hook(
                lambda module, args, out, name=name: seen.setdefault(name, out)
            )
    with torch.no_grad():
        return model(x), seen


@pytest.mark.parametrize('attention', [None, BSA], ids=['native', 'bsa'])
def test_every_spike_of_the_unrolled_network_adds_up(attention):
    model = network(attention=attention)
    unrolled = unroll(model)
    logits, counts = spikes_of(model, image())
    found, spikes = spikes_of(unrolled, image())
    nodes = [
        name
        for name, module in unrolled.named_modules()
        if isinstance(module, UnrolledNode | Collected)
    ]
    assert len(nodes) > 20
    fired = 0
    for name in nodes:
        module = unrolled.get_submodule(name)
        assert len(spikes[name]) == 4
        assert torch.equal(spikes[name].mean(0), counts[name][0]), name
        if domain_of(module) is not None:
            assert domain_of(module).levels == 1
            domain_of(module).check(spikes[name], name)
        fired += int(spikes[name].count_nonzero())
    assert fired > 1000
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-12)


def test_segmentor_is_unrolled_with_neck_and_head():
    pytest.importorskip('mmseg')
    from test_export import segmentor

    model = segmentor().double()
    with torch.no_grad():
        expected, found = (
            net.encode_decode(image(), [dict(img_shape=(32, 32))]) for net in (model, unroll(model))
        )
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_the_model_is_not_changed():
    model = network()
    unroll(model)
    assert (
        not any(isinstance(m, UnrolledNode | Collected) for m in model.modules())
        and model.backbone.num_steps == 1
    )


def test_thermometer_code_counts():
    counts = torch.tensor([[0.0, 1, 3, -2]])
    assert thermometer(counts, 3).tolist() == [[0, 1, 1, -1], [0, 0, 1, -1], [0, 0, 1, 0]]


def test_networks_that_have_no_unrolling():
    with pytest.raises(ValueError, match='must have integer neurons of one D, found D in \\[\\]'):
        unroll(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match='found D in \\[2, 4\\]'):
        unroll(nn.Sequential(IntegerNode(levels=2), IntegerNode(levels=4)))
    with pytest.raises(ValueError, match='num_steps=2'):
        unroll(network(num_steps=2))
    with pytest.raises(ValueError, match="readout='max'"):
        unroll(
            MODELS.build(
                dict(
                    type='mmbsa.ESpikeFormer',
                    arch=MODELS.get('mmbsa.ESpikeFormer').small_arch,
                    readout='max',
                )
            )
        )
    with pytest.raises(ValueError, match='D=4, but there are 3 steps'):
        UnrolledNode(IntegerNode(levels=4))(torch.zeros(3, 2))
