"""Spike2Former's head: sizes, time, attention kinds, memory, inference, and crops that are out of
the ordinary."""

import inspect

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

pytest.importorskip('mmseg')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

import mmbsa.models  # noqa: E402, F401  (registers everything)
from mmbsa.models.layers import Conv2d  # noqa: E402
from mmbsa.registry import MODELS  # noqa: E402
from mmbsa.spiking import AttentionKind, Stateful, stream  # noqa: E402

pytestmark = pytest.mark.seg
BSA = dict(type='mmbsa.BipolarSelfAttention')
WIDTHS = (4, 8, 8, 12)
SMALL = dict(
    type='mmbsa.Spike2FormerHead',
    in_channels=WIDTHS,
    num_classes=5,
    channels=16,
    num_queries=6,
    num_layers=3,
    num_encoder_layers=1,
    num_heads=2,
    groups=4,
    feedforward_channels=24,
    encoder_feedforward_channels=24,
)
KINDS = {
    name: cls
    for name, cls in sorted(MODELS.module_dict.items())
    if inspect.isclass(cls) and issubclass(cls, AttentionKind)
}


def head(**changes):
    torch.manual_seed(0)
    model = MODELS.build({**SMALL, **changes})
    for (
        name,
        parameter,
    ) in model.named_parameters():  # branches that start at 1e-6 or 0 would hide mistakes
        if name.endswith('.scale') or '.offset.' in name or '.mask.' in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def awake(model, steps=2):
    """In evaluation mode, with norms such that every layer fires."""
    for norm in (part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        torch.nn.init.constant_(norm.weight, 2.0)
        torch.nn.init.constant_(norm.bias, 0.5)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(maps(steps=steps, seed=7))
    return model.eval()


def maps(size=(32, 48), steps=1, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        2
        * torch.randn(
            steps, batch, width, -(-size[0] // stride), -(-size[1] // stride), generator=generator
        )
        for width, stride in zip(WIDTHS, (2, 4, 8, 16))
    ]


def samples(*labels):
    found = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_shape=tuple(label.shape)))
        sample.gt_sem_seg = PixelData(data=label[None])
        found.append(sample)
    return found


def labels(size=(32, 48), seed=0, classes=5):
    return torch.randint(0, classes, size, generator=torch.Generator().manual_seed(seed))


def total(losses):
    return sum(losses.values())


@pytest.mark.parametrize(
    'classes, options, number',
    [
        (150, {}, 19_609_904),
        (19, {}, 19_576_237),
        (171, {}, 19_615_301),
        (150, dict(attention=BSA), 19_609_904),
        (19, dict(encoder_feedforward_channels=2048), 22_740_397),
    ],
)
def test_parameters_are_the_official_ones(classes, options, number):
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmbsa.Spike2FormerHead',
                in_channels=(32, 64, 128, 360),
                num_classes=classes,
                **options,
            )
        )
    assert sum(p.numel() for p in model.parameters()) == number
    parts = [
        sum(p.numel() for p in part.parameters())
        for part in (model.pixel_decoder, model.layers, model.shortcut)
    ]
    if not options and classes == 150:
        assert parts == [9_796_544, 9_515_520, 10_200]


@pytest.mark.parametrize('attention', [None, BSA], ids=['native', 'bsa'])
@pytest.mark.parametrize('size, steps', [((32, 48), 1), ((37, 50), 3), ((16, 16), 2)])
def test_any_size_and_time(attention, size, steps):
    model = head(attention=attention)
    scores = model(maps(size, steps))
    assert scores.shape == (2, 5, -(-size[0] // 2), -(-size[1] // 2))
    losses = model.loss(maps(size, steps), samples(labels(size), labels(size, 1)))
    assert set(losses) == {
        prefix + name
        for prefix in ('', 'd0.', 'd1.', 'd2.')
        for name in ('loss_cls', 'loss_mask', 'loss_dice')
    }
    total(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('number', [2, 3])
def test_fewer_maps(number):
    model = head(in_channels=WIDTHS[-number:])
    assert len(model.level_embed) == number
    total(model.loss(maps()[-number:], samples(labels(), labels(seed=1)))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    'neuron',
    [
        dict(type='mmbsa.LIFNode', tau=2.0, v_threshold=0.5),
        dict(type='mmbsa.IFNode'),
        dict(type='mmbsa.PSN'),
        dict(type='mmbsa.SignedIntegerNode', levels=2),
    ],
    ids=lambda cfg: cfg['type'],
)
def test_any_neuron(neuron):
    model = head(neuron=neuron, num_steps=2)
    total(model.loss(maps(steps=2), samples(labels(), labels(seed=1)))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.query_feat.grad.any() and model.mask_embed[0].conv.weight.grad.any()
    with pytest.raises(ValueError, match='decode_head.num_steps=2, but backbone.num_steps=3'):
        model(maps(steps=3))


@pytest.mark.parametrize('kind', KINDS)
def test_kinds_of_self_and_cross_attention(kind):
    cfg, pointwise = dict(type=f'mmbsa.{kind}'), KINDS[kind].pointwise
    if kind == 'ExpertsAttention':
        with pytest.raises(ValueError, match='ExpertsAttention needs several projections of q'):
            head(attention=cfg)
        return
    if pointwise:
        with pytest.raises(
            ValueError, match=f'{kind} .* not support cross-attention.*decode_head.cross_attention'
        ):
            head(attention=cfg)
    model = head(attention=cfg, cross_attention=BSA if pointwise else None)
    assert {type(layer.self_attn.attn).__name__ for layer in model.layers} == {kind}
    cross = {type(layer.cross_attn.attn).__name__ for layer in model.layers}
    assert cross == {'BipolarSelfAttention' if pointwise else kind}
    total(model.loss(maps(steps=2), samples(labels(), labels(seed=1)))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    found = awake(model)(maps(steps=2))
    assert found.isfinite().all() and not torch.equal(found[0], found[1])


def test_queries_depend_on_the_map_through_cross_attention():
    for kind in (None, BSA):
        model = awake(head(attention=kind))
        _, first = model.decode(maps())
        _, second = model.decode(maps(seed=1))
        assert torch.equal(first[0], second[0]) and not torch.equal(first[-1], second[-1])


def test_memory_over_time_is_the_neurons():
    """The default neuron integrates over T, the official one does not."""
    for quirks in (False, True):
        model = awake(head(official_quirks=quirks))
        x = maps(steps=2)
        with torch.no_grad():
            whole = model.outputs(x)[2]
            single = torch.cat(
                [model.outputs([part[t : t + 1] for part in x])[2] for t in range(2)]
            )
        assert torch.equal(whole[0], single[0]) and torch.equal(whole, single) == quirks
        neuron = model.query_neuron
        assert (neuron.levels, neuron.decay) == ((8, 0) if quirks else (4, 0.25))
        assert model.query_sigmoid == quirks


@pytest.mark.parametrize('attention', [None, BSA], ids=['native', 'bsa'])
def test_head_streams_step_by_step(attention):
    """T steps one by one give what the whole sequence gives, bit for bit, up to the mean over T."""
    model, x, state, spikes = awake(head(attention=attention)), maps(steps=3), None, []
    model.out_neuron.register_forward_hook(lambda _, __, out: spikes.append(out))
    with torch.no_grad():
        model(x)
        (whole,) = spikes
        for t in range(3):
            _, state = stream(model, [part[t : t + 1] for part in x], state)
            assert torch.equal(spikes[-1], whole[t : t + 1]), t
    assert whole.any() and not torch.equal(whole[0], whole[1])
    assert set(state) == {
        name for name, part in model.named_modules() if isinstance(part, Stateful)
    }


@pytest.mark.parametrize('steps', [1, 2])
def test_mask_logits_of_all_sets_are_never_held_at_once(steps):
    results = []
    for save in (False, True):
        model, held = head(save_memory=save), []

        def pack(x, held=held):
            held.append(tuple(x.shape))
            return x

        with saved_tensors_hooks(pack, lambda x: x):
            losses = model.loss(maps(steps=steps), samples(labels(), labels(seed=1)))
        results.append((losses, sum(shape[-2:] == (32, 48) for shape in held), model))
        total(losses).backward()
    (plain, many, first), (saving, none, second) = results
    assert none == 0 < many, 'enlarged masks'
    for name in plain:
        torch.testing.assert_close(saving[name], plain[name], rtol=0, atol=0)
    for (name, a), b in zip(first.named_parameters(), second.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers()))


def test_labels_out_of_the_ordinary():
    model = head().train()
    void, one, many = torch.full((32, 48), 255), torch.full((32, 48), 3), labels()
    for pair in ((void, void), (void, many), (one, one)):
        losses = model.loss(maps(), samples(*pair))
        assert all(loss.isfinite() for loss in losses.values()) and total(losses).requires_grad
        empty = pair[0] is void and pair[1] is void
        assert (losses['loss_mask'] == 0) == empty and (losses['loss_dice'] == 0) == empty
        model.zero_grad()
        total(losses).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with pytest.raises(
        ValueError, match=r'label 7, expected 0 .. 4 \(.*num_classes=5\).*reduce_zero_label'
    ):
        model.loss(maps(), samples(many, torch.full((32, 48), 7)))


def test_fewer_queries_than_classes():
    """The best pairs are matched: as many as there are queries."""
    model = head(num_queries=2)
    target = model.criterion.targets(torch.stack([labels()]))
    assert len(target[0].labels) == 5 and model.criterion.count(target, 2) == 2
    scores, masks = torch.zeros(1, 2, 6), torch.full((1, 2, 16, 24), -20.0)
    for query, label in enumerate((4, 1)):
        scores[0, query, label] = 8
        masks[0, query][labels()[::2, ::2] == label] = 20.0
    matches = model.criterion.match(scores, masks, target)
    assert model.criterion.query_labels(target, matches, 2).tolist() == [[4, 1]]
    losses = model.loss(maps(), samples(labels(), labels(seed=1)))
    assert all(loss.isfinite() for loss in losses.values())


def test_logits_that_are_not_finite_are_named():
    model = head()
    with torch.no_grad():
        model.cls_embed.conv.bias[0] = float('nan')
    with pytest.raises(
        FloatingPointError, match='class logits of decode_head, set 0 .* are not finite.*diverged'
    ):
        model.loss(maps(), samples(labels(), labels()))
    model = head()
    with torch.no_grad():
        model.pixel_decoder.mask_features.conv.bias[0] = float('inf')
    with pytest.raises(FloatingPointError, match='mask logits'):
        model.loss(maps(), samples(labels(), torch.full((32, 48), 255)))


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(num_classes=1), 'num_classes >= 2'),
        (dict(channels=18, groups=2), 'divisible by 4'),
        (dict(groups=3), 'groups=3 does not divide channels=16'),
        (dict(num_heads=3), 'num_heads=3 does not divide'),
        (dict(in_channels=(4,)), 'two maps or more'),
    ],
)
def test_wrong_sizes_are_answered(changes, words):
    with pytest.raises(ValueError, match=words):
        head(**changes)


def segmentor(backbone, test_cfg, **changes):
    return MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            backbone=backbone,
            decode_head={**SMALL, **changes},
            test_cfg=ConfigDict(test_cfg),
        )
    )


BACKBONE = dict(
    type='mmbsa.ESpikeFormer', arch=dict(embed_dims=(8, 8, 8, 12), depths=(1, 1), num_heads=2)
)


@pytest.mark.parametrize(
    'test_cfg',
    [dict(mode='whole'), dict(mode='slide', crop_size=(32, 32), stride=(16, 16))],
    ids=['whole', 'slide'],
)
def test_inference_of_mmseg(test_cfg):
    torch.manual_seed(0)
    model = segmentor(BACKBONE, test_cfg).eval()
    image = torch.randn(2, 3, 45, 61)
    metas = [
        dict(img_shape=(45, 61), ori_shape=(90, 122), pad_shape=(45, 61), padding_size=[0, 0, 0, 0])
    ] * 2
    with torch.no_grad():
        result = model.predict(image, [SegDataSample(metainfo=meta) for meta in metas])
        assert model(image).shape == (2, 5, 23, 31)
    for sample in result:
        assert sample.pred_sem_seg.data.shape == (1, 90, 122) and sample.seg_logits.data.shape == (
            5,
            90,
            122,
        )
    data = samples(labels((45, 61)), labels((45, 61), 1))
    assert set(model.loss(image, data)) >= {
        'decode.loss_cls',
        'decode.d0.loss_mask',
        'decode.d2.loss_dice',
    }


def test_starts_where_the_paper_starts():
    model = MODELS.build(SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    layer = model.pixel_decoder.encoder[0]
    assert all((part.scale == 1e-6).all() for part in layer)
    assert not layer[1].branch.offset.conv.weight.any() and not layer[1].branch.mask.conv.bias.any()
    assert model.shortcut_scale.item() == 1 and not model.cls_embed.conv.bias.any()
    assert 0 < model.cls_embed.conv.weight.std() < 0.05 and 0.7 < model.query_feat.std() < 1.3
    bound = (6 / (16 + 24)) ** 0.5
    assert 0.8 * bound < model.layers[0].ffn.expand.conv.weight.abs().max() <= bound


@pytest.mark.parametrize('attention', [None, BSA], ids=['native', 'bsa'])
def test_learns_a_scene(attention):
    """Matching, losses and inference agree: what is trained is what comes out."""
    torch.manual_seed(0)
    model = MODELS.build({**SMALL, 'attention': attention, 'num_layers': 1})
    label = torch.zeros(32, 32, dtype=torch.long)
    label[8:24, 4:20], label[:, 24:] = 2, 4
    classes = torch.nn.functional.one_hot(label, 5).permute(2, 0, 1)[None].float()
    pooled = [torch.nn.functional.adaptive_avg_pool2d(classes, 16 // f) for f in (1, 2, 4, 8)]
    x = [3 * map_.repeat(2, 3, 1, 1)[None, :, :width] for map_, width in zip(pooled, WIDTHS)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    first = None
    for _ in range(30):
        losses = model.loss(x, samples(label, label))
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        first = first or total(losses).item()
    assert total(losses).item() < 0.3 * first
    found = model.predict(x, [dict(img_shape=(32, 32))] * 2).argmax(1)
    assert (found == label).float().mean() > 0.9


def test_a_stock_backbone_is_one_step():
    model = head().eval()
    x = maps()
    assert torch.equal(model([part[0] for part in x]), model(x))


def test_bfloat16_autocast():
    model = head()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(maps(), samples(labels(), labels(seed=1)))
    total(losses).backward()
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_deformable_attention_samples_where_it_should():
    """Whole offsets shift the map: no sampling kernel is needed to say what comes out."""
    part = MODELS.build(dict(type='mmbsa.SpikeDeformableAttention', channels=4, groups=2))
    value = torch.randn(1, 4, 5, 6)
    offset, mask = (
        torch.zeros(1, 2, 3, 3, 2, 5, 6),
        torch.zeros(1, 2, 3, 3, 5, 6),
    )  # (group, column, row, xy)
    mask[:, 0, 2, 1] = 1  # first group: the point one column to the right, moved by one row down
    offset[:, 0, 2, 1, 1] = 1
    mask[:, 1, 1, 0] = 0.5  # second group: the point one row up, moved by two columns to the left
    offset[:, 1, 1, 0, 0] = -2
    out = part.sample(value, offset.flatten(1, 4), mask.flatten(1, 3))
    expected = torch.zeros_like(value)
    expected[:, :2, :-1, :-1] = value[:, :2, 1:, 1:]
    expected[:, 2:, 1:, 2:] = value[:, 2:, :-1, :-2] / 2
    torch.testing.assert_close(out, expected)
    assert not any(conv.weight.any() for conv in (part.offset.conv, part.mask.conv)) and isinstance(
        part.mask.conv, Conv2d
    )


def test_prediction_is_that_of_the_last_set_of_queries():
    model, inputs = awake(head()), maps()
    with torch.no_grad():
        scores, masks, _ = model.outputs(inputs)
        shares = scores[-1].softmax(-1)[..., :-1]
        expected = torch.einsum('bqk,bqhw->bkhw', shares, masks[-1].sigmoid())
        torch.testing.assert_close(model(inputs), expected)
        others = [scores[index] - scores[-1] for index in range(len(scores) - 1)]
        assert all(difference.abs().max() > 1e-3 for difference in others)
