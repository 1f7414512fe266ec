"""E-SpikeFormer large (83M, 171M): sizes as published, half-up rounding, open window, branches."""

import family_checks as checks
import pytest
import torch
from family_checks import BSA

from mmbsa.models.layers import RepConv
from mmbsa.models.neurons import IntegerNode
from mmbsa.registry import MODELS

TINY = dict(embed_dims=(8, 16, 24), depths=(2,), num_heads=2)
BRANCHED = dict(TINY, branch_ratio=1.5)


def build(arch=TINY, **kwargs):
    return checks.build('ESpikeFormerLarge', arch, **kwargs)


@pytest.mark.parametrize('distill', [False, True])
@pytest.mark.parametrize(
    'arch, official, with_distillation',
    [
        ('12-512', 82_502_952, 83_015_952),
        ('12-768', 170_971_714, 171_740_714),
        ('12-768-pretrain', 170_810_824, None),
    ],
)
def test_published_sizes(arch, official, with_distillation, distill):
    """The official fine-tuning code has layer scales and, for distillation, a second head."""
    if distill and with_distillation is None:
        with_distillation = official + 1000 * 769
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmbsa.SpikingClassifier',
                num_classes=1000,
                distill=distill,
                distill_neuron=True,
                backbone=dict(type='mmbsa.ESpikeFormerLarge', arch=arch, layer_scale=1e-6),
            )
        )
    assert sum(p.numel() for p in model.parameters()) == (
        with_distillation if distill else official
    )


@pytest.mark.parametrize('arch', [TINY, BRANCHED], ids=['171m', '83m'])
@pytest.mark.parametrize(
    'size, num_steps, attention', [((32, 32), 1, None), ((33, 47), 1, BSA), ((64, 16), 2, BSA)]
)
def test_shapes_and_gradients(arch, size, num_steps, attention):
    model = build(arch, num_steps=num_steps, attention=attention, in_channels=5, layer_scale=0.5)
    checks.check_shapes_and_gradients(model, size)


def test_neurons_round_half_up_and_have_an_open_window():
    model = build(BRANCHED)
    nodes = [m for m in model.modules() if isinstance(m, IntegerNode)]
    assert nodes and {(n.rounding, n.window, n.levels, n.norm) for n in nodes} == {
        ('half_up', 'exclusive', 4, 4.0)
    }
    x = torch.tensor([[0.0, 0.5, 1.5, 2.5, 4.0, 9.0]], requires_grad=True)
    spikes = nodes[0](x)
    assert (4 * spikes).tolist() == [[0, 1, 2, 3, 4, 4]]
    spikes.sum().backward()
    assert x.grad.tolist() == [[0, 0.25, 0.25, 0.25, 0, 0]]


def test_block_has_three_residual_branches():
    """83M: a branch of two convolutions, attention, MLP; only the last two are scaled."""
    block = build(BRANCHED, layer_scale=1e-6).stages[3][1]
    assert [r.scale is None for r in block] == [True, False, False]
    branch = block[0].branch
    assert (
        isinstance(branch, RepConv)
        and branch.depthwise is None
        and branch.expand.out_channels == 36
    )
    assert [r.scale is None for r in build().stages[3][1]] == [True, True]
    x = torch.randn(1, 2, 24, 3, 5)
    norms, convs = (branch.expand_norm, branch.reduce_norm), (branch.expand, branch.reduce)
    potential = ((x.clamp(0, 4) + 0.5).floor() / 4)[0]
    for conv, norm in zip(convs, norms):
        potential = norm(torch.einsum('oc,bchw->bohw', conv.weight[:, :, 0, 0], potential))
    torch.testing.assert_close(block[0](x)[0], x[0] + potential)


def test_bsa_replaces_the_attention_alone():
    checks.check_bsa_swaps_the_attention_and_nothing_else(
        build(), build(attention=BSA), 2, neuron='IntegerNode'
    )


def test_neuron_is_replaced_everywhere():
    checks.check_neuron_everywhere('ESpikeFormerLarge', BRANCHED, num_steps=2)


def test_drop_path_of_the_published_recipe():
    """Attention and MLP have it, the extra branch has not."""
    last = build(BRANCHED, drop_path_rate=0.1).stages[3][-1]
    assert [r.drop_path_rate for r in last] == [0.0, 0.1, 0.1]
    checks.check_drop_path(build(drop_path_rate=0.6))
