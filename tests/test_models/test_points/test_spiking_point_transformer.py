"""The backbone of clouds and the classifier around it."""

import pytest
import torch
from torch import nn

pytest.importorskip('mmpretrain')
from mmpretrain.structures import DataSample  # noqa: E402

from mmbsa.models.points import PointDataPreprocessor  # noqa: E402
from mmbsa.registry import MODELS  # noqa: E402
from mmbsa.spiking import TERNARY, spiking_neurons  # noqa: E402

BIPOLAR = dict(type='mmbsa.BipolarPointAttention', num_heads=4)


def classifier(**backbone):
    torch.manual_seed(0)
    backbone = (
        dict(
            type='mmbsa.SpikingPointTransformer',
            in_channels=3,
            base_channels=8,
            embed_dims=16,
            num_neighbors=4,
            depths=(1, 1, 2),
            encoder=dict(type='mmbsa.PointQueueEncoder', num_steps=2, num_samples=32),
        )
        | backbone
    )
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=backbone,
            data_preprocessor=dict(type='mmbsa.PointDataPreprocessor'),
            head=dict(
                type='mmbsa.PointClsHead', num_classes=5, in_channels=32, hidden_channels=(24, 16)
            ),
        )
    )


def clouds(batch=3, total=64):
    return 2 * torch.randn(batch, total, 3, generator=torch.Generator().manual_seed(5))


ENCODERS = [
    dict(type='mmbsa.PointQueueEncoder', num_steps=3, num_samples=32),
    dict(type='mmbsa.PointScanEncoder', num_steps=2, num_samples=32),
    dict(type='mmbsa.PointRandomEncoder', num_steps=2),
    dict(type='mmbsa.PointDirectEncoder', num_steps=2),
]
VARIANTS = [dict(encoder=encoder) for encoder in ENCODERS] + [
    dict(attention=BIPOLAR),
    dict(mixture=None),
    dict(offset_gain=2.0),
    dict(neuron=dict(type='mmbsa.PSN')),
    dict(official_quirks=True),
    dict(mixture=dict(type='mmbsa.HDLIFNode')),
    dict(neuron=dict(type='mmbsa.IntegerNode', levels=4)),
]


@pytest.mark.parametrize('change', VARIANTS, ids=str)
def test_variants_train(change):
    model = classifier(**change)
    samples = [DataSample().set_gt_label(label) for label in (0, 3, 4)]
    model(clouds(), samples, mode='loss')['loss'].backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None]
    assert not dead and model.backbone.stem[0].conv.weight.grad.abs().sum() > 0
    predictions = model.eval()(clouds(), mode='predict')
    assert all(sample.pred_score.shape == (5,) for sample in predictions)


@pytest.mark.parametrize('attention', [dict(type='mmbsa.PointVectorAttention'), BIPOLAR], ids=str)
@torch.no_grad()
def test_samples_do_not_depend_on_their_batch(attention):
    model = classifier(attention=attention).eval()
    torch.testing.assert_close(
        model(clouds()), torch.cat([model(cloud[None]) for cloud in clouds()])
    )


@pytest.mark.parametrize('attention', [dict(type='mmbsa.PointVectorAttention'), BIPOLAR], ids=str)
@torch.no_grad()
def test_order_of_points_matters_only_to_where_sampling_begins(attention):
    model, x = (
        classifier(
            attention=attention, encoder=dict(type='mmbsa.PointDirectEncoder', num_steps=2)
        ).eval(),
        clouds(),
    )
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(63)])
    torch.testing.assert_close(model(x), model(x[:, order]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_levels_have_the_announced_sizes():
    backbone = classifier(out_indices=(0, 1, 2)).backbone
    shapes = [tuple(maps.shape) for maps in backbone(clouds())]
    assert shapes == [
        (2, 3, 8, 32, 1),
        (2, 3, 16, 16, 1),
        (2, 3, 32, 4, 1),
    ] and backbone.out_channels == [8, 16, 32]


@torch.no_grad()
def test_bipolar_attention_is_its_equation():
    torch.manual_seed(0)
    kind = MODELS.build(
        dict(
            type='mmbsa.BipolarPointAttention',
            embed_dims=8,
            num_heads=2,
            neuron=dict(type='mmbsa.LIFNode', tau=2.0, v_threshold=0.5, v_reset=0.0),
        )
    )
    q, k, v = torch.randn(3, 2, 1, 8, 6, 1) * 2
    position, index = torch.randint(2, (2, 1, 8, 6, 4)).float(), torch.randint(6, (2, 1, 6, 4))
    out = kind(q, k, v, position, index)
    q, k = kind.q_neuron(q), kind.k_neuron(k)
    assert set(q.unique().tolist()) == {-1, 0, 1} and kind.domain == TERNARY
    mixed = torch.zeros(2, 1, 8, 6, 1)
    for t in range(2):
        for i in range(6):
            for head in (slice(0, 4), slice(4, 8)):
                near = [
                    (k[t, 0, head, j, 0], v[t, 0, head, j, 0], position[t, 0, head, i, n])
                    for n, j in enumerate(index[t, 0, i].tolist())
                ]
                scores = torch.stack(
                    [q[t, 0, head, i, 0] @ (key + delta) for key, _, delta in near]
                )
                weights = 2 ** (scores - (2 ** scores.double()).sum().log2().ceil().float())
                mixed[t, 0, head, i, 0] = sum(
                    w * (value + delta) for w, (_, value, delta) in zip(weights, near)
                )
    torch.testing.assert_close(out, kind.out_neuron(mixed))
    assert 0 < out.abs().mean() < 1


def test_every_neuron_declares_its_domain(monkeypatch):
    monkeypatch.setenv('MMBSA_CHECK_SPIKES', '1')
    model = classifier(attention=BIPOLAR).eval()
    model(clouds())
    assert len(spiking_neurons(model)) == len(
        [m for m in model.modules() if type(m).__name__.endswith('Node')]
    )


@torch.no_grad()
def test_offset_gain_wakes_the_position_code_in_clouds_of_any_size():
    points = torch.nn.functional.normalize(clouds(), dim=2)
    rates = {}
    for gain, size in ((None, 1), (3.0, 1), (3.0, 50)):
        backbone = classifier(offset_gain=gain).backbone
        position = backbone.blocks[0].position[0].neuron
        handle = position.register_forward_hook(
            lambda m, i, o, key=(gain, size): rates.__setitem__(key, float(o.mean()))
        )
        backbone(size * points)
        handle.remove()
    assert rates[None, 1] < 0.1 < rates[3.0, 1] == rates[3.0, 50] < 0.5


@pytest.mark.parametrize(
    'call, error, message',
    [
        (lambda: classifier()(torch.zeros(2, 64, 6)), ValueError, 'backbone.in_channels'),
        (lambda: classifier(depths=(1,) * 5)(clouds(2, 64)), ValueError, 'at least 256 points'),
        (lambda: classifier(out_indices=(3,)), ValueError, 'out_indices'),
        (
            lambda: classifier(attention=dict(type='mmbsa.SpikingSelfAttention')),
            TypeError,
            'backbone.attention',
        ),
        (
            lambda: classifier(encoder=dict(type='mmbsa.PointQueueEncode')),
            KeyError,
            'PointQueueEncoder',
        ),
        (lambda: classifier(attention=dict(BIPOLAR, num_heads=3)), ValueError, 'num_heads=3'),
        (
            lambda: PointDataPreprocessor(batch_augments=dict(augments=[])),
            ValueError,
            'batch augmentations',
        ),
        (
            lambda: PointDataPreprocessor()(dict(inputs=[torch.zeros(4, 3), torch.zeros(5, 3)])),
            ValueError,
            'differ',
        ),
        (lambda: PointDataPreprocessor()(dict(inputs=[torch.zeros(4)])), ValueError, 'PackPoints'),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_preprocessor_stacks_clouds():
    out = PointDataPreprocessor()(dict(inputs=[torch.ones(4, 3, dtype=torch.double)] * 2))
    assert out['inputs'].shape == (2, 4, 3) and out['inputs'].dtype == torch.float32
    assert isinstance(classifier().data_preprocessor, nn.Module)
