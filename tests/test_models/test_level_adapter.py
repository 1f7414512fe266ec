"""LevelAdapter gives each consumer the maps it asks for, and nothing without a gradient."""

import pytest
import torch

from mmbsa.models.necks import LevelAdapter

CHANNELS, STRIDES = (4, 6, 8), (4, 8, 16)


def maps(height: int = 64, width: int = 96, batch: int = 2) -> tuple[torch.Tensor, ...]:
    return tuple(
        torch.randn(batch, c, -(-height // s), -(-width // s)) for c, s in zip(CHANNELS, STRIDES)
    )


def test_sources_may_repeat_and_reorder():
    inputs = maps()
    outs = LevelAdapter(CHANNELS, STRIDES, sources=(2, 0, 2))(inputs)
    assert [o is inputs[i] for o, i in zip(outs, (2, 0, 2))] == [True] * 3


@pytest.mark.parametrize('size', [(64, 64), (61, 97), (40, 72)])
def test_sizes_nest_exactly_whatever_the_image(size):
    outs = LevelAdapter(CHANNELS, STRIDES, sources=(0, 1, 2, 2), strides=(4, 8, 16, 32))(
        maps(*size)
    )
    heights, widths = [o.shape[2] for o in outs], [o.shape[3] for o in outs]
    for sides, side in ((heights, size[0]), (widths, size[1])):
        assert [fine == 2 * coarse for fine, coarse in zip(sides, sides[1:])] == [True] * 3
        assert sides[-1] >= side / 32, 'the coarsest map must cover the image'


def test_resizing_keeps_a_linear_ramp():
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    (out,) = LevelAdapter((1,), (8,), sources=(0,), strides=(4,))((ramp,))
    assert out.shape == (1, 1, 32, 32)
    torch.testing.assert_close(out[0, 0, 0, 1:-1], torch.arange(0.25, 15, 0.5))


def test_top_down_brings_coarse_context_into_fine_maps():
    adapter = LevelAdapter(CHANNELS, STRIDES, sources=(0,), top_down=5).eval()
    inputs = tuple(x.requires_grad_() for x in maps())
    (out,) = adapter(inputs)
    assert out.shape == (2, 5, 16, 24)
    out.sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)
    (raw,) = LevelAdapter(CHANNELS, STRIDES, sources=(0,), channels=(5,)).eval()(
        tuple(x.detach() for x in inputs)
    )
    assert raw.shape == out.shape


def test_every_parameter_gets_a_gradient():
    adapter = LevelAdapter(
        CHANNELS,
        STRIDES,
        sources=(0, 0, 1),
        top_down=5,
        strides=(4, 4, 8),
        channels=(2, 3, 4),
        eval_out=1,
    )
    sum(o.square().sum() for o in adapter(maps())).backward()
    assert [n for n, p in adapter.named_parameters() if p.grad is None] == []


def test_one_tensor_in_eval_mode_and_all_in_train_mode():
    adapter = LevelAdapter(CHANNELS, STRIDES, sources=(0, 2), channels=(3, 7), eval_out=1)
    assert [o.shape[1] for o in adapter.train()(maps())] == [3, 7]
    assert adapter.eval()(maps()).shape[:2] == (2, 7)


def test_tokens_are_means_over_positions():
    inputs = maps()
    for x, (out, token) in zip(
        inputs, LevelAdapter(CHANNELS, STRIDES, sources=(0, 1, 2), tokens=True)(inputs)
    ):
        assert out is x
        torch.testing.assert_close(token, x.flatten(2).mean(-1))


@pytest.mark.parametrize(
    'options, key',
    [
        (dict(sources=(3,)), 'sources'),
        (dict(sources=()), 'sources'),
        (dict(sources=(0, 1), strides=(4,)), 'strides'),
        (dict(sources=(0, 1), channels=(4,)), 'channels'),
        (dict(sources=(0, 1), strides=(3, 8)), 'divide'),
        (dict(sources=(0,), eval_out=1), 'eval_out'),
    ],
)
def test_bad_arguments_are_named(options, key):
    with pytest.raises(ValueError, match=key):
        LevelAdapter(CHANNELS, STRIDES, **options)


def test_a_wrong_number_of_maps_is_refused():
    with pytest.raises(ValueError, match='got 2 maps'):
        LevelAdapter(CHANNELS, STRIDES, sources=(0,))(maps()[:2])
