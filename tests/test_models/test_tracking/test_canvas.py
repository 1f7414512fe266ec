"""The canvas and the tokens of a pair."""

import pytest
import torch

from mmbsa.models.tracking.canvas import check_pair_backbone, join_canvas, pair_features
from mmbsa.registry import MODELS

ARCH = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2, with_conv=False)


def backbone(**kwargs):
    torch.manual_seed(0)
    cfg = dict(type='mmbsa.ESpikeFormer', **{**dict(arch=ARCH), **kwargs})
    return MODELS.build(cfg).eval()


def crops(z, s, steps=1, batch=2):
    generator = torch.Generator().manual_seed(1)
    return (
        4 * torch.randn(steps, batch, 3, z, z, generator=generator),
        4 * torch.randn(steps, batch, 3, s, s, generator=generator),
    )


def test_search_goes_upper_left_and_template_lower_right():
    template, search = torch.full((1, 1, 1, 2, 2), 2.0), torch.full((1, 1, 1, 3, 3), 3.0)
    assert join_canvas(template, search)[0, 0, 0].tolist() == [
        [3, 3, 3, 0, 0],
        [3, 3, 3, 0, 0],
        [3, 3, 3, 0, 0],
        [0, 0, 0, 2, 2],
        [0, 0, 0, 2, 2],
    ]


@pytest.mark.parametrize('z, s', [(16, 32), (32, 32), (48, 64)])
def test_any_sizes_that_fit_the_stride(z, s):
    tokens = pair_features(backbone(), *crops(z, s))
    assert tokens.shape == (1, 2, 16, (z // 16) ** 2 + (s // 16) ** 2)


def test_tokens_stand_in_the_official_order():
    """Whatever the stages do, token i of the template comes before the search crop's, row by
    row.
    """
    net = backbone()
    net.stages[3] = net.stages[3][:1]
    net.stages[4] = torch.nn.Sequential(torch.nn.Identity())
    template, search = crops(32, 48)
    with torch.no_grad():
        x = net.stem(join_canvas(template, search))
        for stage in net.stages[:3]:
            x = stage(x)
        x = net.stages[3][0](x)  # (1, 2, 16, 5, 5)
        tokens = pair_features(net, template, search)
    torch.testing.assert_close(tokens[..., :4], x[..., 3:, 3:].flatten(3))
    torch.testing.assert_close(tokens[..., 4:], x[..., :3, :3].flatten(3))


def test_zero_tokens_take_part():
    net, pair = backbone().train(), crops(16, 32)  # batch statistics keep all neurons alive
    with torch.no_grad():
        with_zeros, without = pair_features(net, *pair), pair_features(net, *pair, appendix=0)
    assert with_zeros.shape == without.shape and not torch.equal(with_zeros, without)


def test_sizes_that_do_not_fit_are_named():
    for name, sizes in (('template', (24, 32)), ('search', (16, 40))):
        with pytest.raises(ValueError, match=f'the {name} crop .* multiple of 16'):
            pair_features(backbone(), *crops(*sizes))


def test_backbones_with_maps_of_tokens_are_refused():
    assert check_pair_backbone(backbone()) == 16
    with pytest.raises(ValueError, match='arch.with_conv=False'):
        check_pair_backbone(backbone(arch={**ARCH, 'with_conv': True}))
    with pytest.raises(ValueError, match='needs three'):
        check_pair_backbone(torch.nn.Linear(2, 2))


def test_recomputing_changes_neither_gradients_nor_statistics():
    pair, found = crops(16, 32), []
    for with_cp in (False, True):
        net = backbone(with_cp=with_cp).train()
        pair_features(net, *pair).square().sum().backward()
        found.append(
            {**{k: p.grad for k, p in net.named_parameters()}, **dict(net.named_buffers())}
        )
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, msg=key)
