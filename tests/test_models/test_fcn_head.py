"""The spiking FCN head inside mmseg's own segmentor."""

import pytest
import torch

from mmbsa.registry import MODELS

pytestmark = pytest.mark.seg
pytest.importorskip('mmseg')
LIF = dict(type='mmbsa.LIFNode', tau=2.0, surrogate_function=dict(type='Sigmoid', alpha=4.0))
TINY = dict(embed_dims=32, depth=1, num_heads=2)


def head(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        {
            **dict(
                type='mmbsa.SpikeFCNHead',
                in_channels=8,
                channels=8,
                num_classes=5,
                neuron=LIF,
                align_corners=False,
            ),
            **kwargs,
        }
    )


def segmentor(**kwargs):
    return MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            backbone=dict(type='mmbsa.Spikformer', arch=TINY, num_steps=2, out_indices=(2, 3)),
            decode_head=dict(
                type='mmbsa.SpikeFCNHead',
                in_channels=32,
                in_index=1,
                channels=kwargs.pop('channels', 16),
                num_classes=5,
                **kwargs,
            ),
        )
    )


@pytest.mark.parametrize('size', [(64, 64), (37, 50)])
def test_logits_have_the_stride_of_the_map(size):
    model = segmentor()
    logits = model(3 * torch.randn(2, 3, *size))
    assert logits.shape == (2, 5, -(-size[0] // 16), -(-size[1] // 16))
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert (
        len(model.decode_head.convs) == 2
        and model.decode_head.concat_conv.conv.in_channels == 32 + 16
    )


def test_head_of_step_is_a_neuron_and_a_convolution():
    model = head(num_convs=0, concat_input=False)
    x = 3 * torch.rand(4, 2, 8, 6, 7)
    spikes = model.out_neuron(x)
    expected = torch.stack([model.conv_seg(step) for step in spikes]).mean(0)
    torch.testing.assert_close(model([x]), expected)
    assert sum(p.numel() for p in model.parameters()) == 5 * 9 and model.dropout is None


@pytest.mark.parametrize(
    'cfg, words',
    [
        (dict(num_convs=0, concat_input=False, channels=4), 'channels=4 must be in_channels=8'),
        (dict(num_convs=-1), 'num_convs=-1'),
        (dict(kernel_size=2), 'kernel_size=2'),
        (
            dict(in_channels=[8, 8], in_index=[0, 1], input_transform='multiple_select'),
            'one number',
        ),
    ],
)
def test_what_does_not_fit_is_named(cfg, words):
    with pytest.raises(ValueError, match=words):
        head(**cfg)


def test_steps_of_another_t_are_named():
    with pytest.raises(ValueError, match='decode_head.num_steps=3'):
        segmentor(num_steps=3)(torch.randn(2, 3, 32, 32))
