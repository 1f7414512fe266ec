"""Every value of every axis of comparison trains a step in every CIFAR family, and is found in the
model (STEP's D1-D11)."""

import family_checks as checks
import pytest
import torch

from mmbsa.models.attentions import DotProductAttention
from mmbsa.models.backbones.tokenizers import PositionEmbedding
from mmbsa.models.neurons import HDLIFNode, HodgkinHuxleyNode, IntegerNode, StatelessNode
from mmbsa.registry import MODELS

pytest.importorskip('mmpretrain')
from mmengine.registry import DefaultScope  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

CLASSES, STEPS = 5, 3
FAMILIES = {
    'Spikformer': dict(embed_dims=16, depth=1, num_heads=2, pooling='0111'),
    'Spikingformer': dict(embed_dims=16, depth=1, num_heads=2, pooling='0111'),
    'SpikeDrivenTransformer': dict(embed_dims=16, depth=1, num_heads=2, pooling='0111'),
    'QKFormer': dict(
        embed_dims=(8, 16),
        depths=(1, 1),
        num_heads=2,
        tokenizer=dict(first=((1 / 2, 1), '01', 1), later=((1, 1), '01', 0)),
    ),
    'SpikingResformer': dict(
        embed_dims=(8, 16),
        depths=(1, 1),
        num_heads=(1, 2),
        patch_sizes=(2, 1),
        group_size=8,
        stem='3x3',
    ),
}
#: families without a CIFAR preset; what their heads do with time is the same.
OTHERS = {
    'MetaSpikeFormer': dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2),
    'ESpikeFormer': dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2),
    'ESpikeFormerLarge': dict(embed_dims=(8, 16, 16), depths=(1,), num_heads=2),
}
COLUMNAR = ('Spikformer', 'Spikingformer', 'SpikeDrivenTransformer')
NEURONS = dict(
    IF=dict(type='mmbsa.IFNode'),
    LIF=dict(type='mmbsa.LIFNode', tau=1.7),
    PLIF=dict(type='mmbsa.ParametricLIFNode'),
    EIF=dict(type='mmbsa.EIFNode'),
    ILIF=dict(type='mmbsa.IntegerNode', levels=2, norm=1),
    NILIF=dict(type='mmbsa.IntegerNode', levels=2),
    PSN=dict(type='mmbsa.PSN'),
    KLIF=dict(type='mmbsa.KLIFNode'),
    GLIF=dict(type='mmbsa.GatedLIFNode'),
    CLIF=dict(type='mmbsa.ComplementaryLIFNode'),
    HDLIF=dict(type='mmbsa.HDLIFNode'),
    Izhikevich=dict(type='mmbsa.IzhikevichNode'),
    HodgkinHuxley=dict(type='mmbsa.HodgkinHuxleyNode', substeps=4, dt=1.0),
    ternary=dict(type='mmbsa.TernaryLIFNode'),
    integer=dict(type='mmbsa.SignedIntegerNode', levels=3),
)
SURROGATES = dict(
    sigmoid='Sigmoid', atan='ATan', qgate='PiecewiseQuadratic', gate='Gate', rectangle='Rect'
)
ATTENTIONS = dict(
    bsa=dict(type='mmbsa.BipolarSelfAttention'),
    tmp=dict(type='mmbsa.BipolarSelfAttention', normalizer='none'),
    bmp=dict(type='mmbsa.BipolarSelfAttention', product='binary', normalizer='softmax'),
    rmp=dict(type='mmbsa.BipolarSelfAttention', product='real', normalizer='softmax'),
    ssa=dict(type='mmbsa.SpikingSelfAttention'),
    sdsa=dict(type='mmbsa.SpikeDrivenSelfAttention'),
    random=dict(type='mmbsa.SpikingSelfAttention', frozen=('q', 'k')),
    rep_conv=dict(type='mmbsa.SpikingSelfAttention', projection='rep_conv'),
    softmax=dict(type='mmbsa.SoftmaxAttention'),
)
#: normaliser and product that each attention ends up with.
EXPECTED = dict(
    bsa=('shiftmax', 'ternary'),
    tmp=('none', 'ternary'),
    bmp=('softmax', 'binary'),
    rmp=('softmax', 'real'),
    ssa=('none', 'binary'),
    random=('none', 'binary'),
    rep_conv=('none', 'binary'),
    softmax=('softmax', 'real'),
)
LOSSES = dict(
    cross_entropy=dict(type='mmpretrain.CrossEntropyLoss'),
    smoothing=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, num_classes=CLASSES),
    tet=dict(type='mmbsa.TETLoss', lamb=0.05),
    smooth_tet=dict(
        type='mmbsa.TETLoss', loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1)
    ),
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def build(family, num_steps=STEPS, head=None, train_cfg=None, teacher=None, arch=None, **backbone):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmbsa.SpikingImageClassifier',
            data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255], num_classes=CLASSES),
            backbone=dict(
                type=f'mmbsa.{family}',
                arch=(FAMILIES | OTHERS)[family] | (arch or {}),
                num_steps=num_steps,
                **backbone,
            ),
            head=dict(type='mmbsa.SpikingClsHead', num_classes=CLASSES, **(head or {})),
            train_cfg=train_cfg,
            teacher=teacher,
        )
    )


def batch(size=4, shape=(3, 16, 16)):
    generator = torch.Generator().manual_seed(1)
    return dict(
        inputs=torch.randint(0, 256, (size, *shape), generator=generator, dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(index % CLASSES) for index in range(size)],
    )


def train_a_step(model, data=None):
    """One step of SGD; every parameter that trains gets a finite gradient, and some of them
    move."""
    data = model.train().data_preprocessor(data or batch(), True)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = model(**data, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, p in model.named_parameters():
        assert not p.requires_grad or p.grad is not None and torch.isfinite(p.grad).all(), name
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())
    return losses


def awake(model):
    """In evaluation, with every layer firing and a head of some size."""
    checks.awake(model.backbone)
    torch.nn.init.normal_(model.head.head.weight)
    return model.eval()


def spiking(model):
    return [
        m
        for m in model.modules()
        if isinstance(m, (StatelessNode, IntegerNode, HDLIFNode, HodgkinHuxleyNode))
    ]


families = pytest.mark.parametrize('family', FAMILIES)
everyone = pytest.mark.parametrize('family', FAMILIES | OTHERS)


@families
@pytest.mark.parametrize('code', ['DirectEncoder', 'RateEncoder', 'TTFSEncoder', 'PhaseEncoder'])
def test_encoding_runs_in_every_family(family, code):
    model = build(family, encoder=dict(type=f'mmbsa.{code}'))
    assert (
        type(model.backbone.encoder).__name__ == code and model.backbone.encoder.num_steps == STEPS
    )
    train_a_step(model)


@families
@pytest.mark.parametrize('name', NEURONS)
def test_neuron_runs_in_every_family(family, name):
    model = build(family, neuron=NEURONS[name])
    wanted = NEURONS[name]['type'].removeprefix('mmbsa.')
    assert {type(m).__name__ for m in spiking(model)} == {wanted}
    steps = {getattr(m, 'T', STEPS) for m in spiking(model)}
    assert steps == {STEPS}
    train_a_step(model)
    assert (
        isinstance(model.head.neuron, torch.nn.Identity)
        or type(model.head.neuron).__name__ == wanted
    )


@families
@pytest.mark.parametrize('name', SURROGATES)
@pytest.mark.parametrize('alpha', [1.5, 3.0])
def test_surrogate_runs_in_every_family(family, name, alpha):
    model = build(
        family, neuron=dict(type='mmbsa.LIFNode', surrogate_function=dict(type=name, alpha=alpha))
    )
    assert {
        (type(m.surrogate_function).__name__, m.surrogate_function.alpha) for m in spiking(model)
    } == {(SURROGATES[name], alpha)}
    train_a_step(model)


@families
@pytest.mark.parametrize('name', ATTENTIONS)
def test_attention_runs_in_every_family(family, name):
    if name == 'rep_conv' and family == 'SpikingResformer':
        with pytest.raises(ValueError, match="projection='rep_conv' replaces 1x1"):
            build(family, attention=ATTENTIONS[name])
        return
    model = build(family, attention=ATTENTIONS[name])
    kinds = [
        m
        for m in model.modules()
        if type(m).__name__ == ATTENTIONS[name]['type'].removeprefix('mmbsa.')
    ]
    assert kinds
    for kind in kinds:
        if isinstance(kind, DotProductAttention):
            assert (
                kind.options['normalizer'] == EXPECTED[name][0]
                and kind.product == EXPECTED[name][1]
            )
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert bool(frozen) == (name == 'random')
    kept = [p.clone() for p in frozen]
    train_a_step(model)
    assert all(torch.equal(a, b) for a, b in zip(frozen, kept))


@pytest.mark.parametrize('attention', ['bsa', 'ssa'])
@pytest.mark.parametrize('family', COLUMNAR)
@pytest.mark.parametrize('stem', [4, 2, 1, 'sequence'])
def test_stem_runs_in_every_family(family, stem, attention):
    sequence = stem == 'sequence'
    arch = dict(in_channels=1 if sequence else 3, img_size=16, tokens=8)
    model = build(family, stem=stem, attention=ATTENTIONS[attention], arch=arch)
    parts = [model.backbone.stem, *model.backbone.stages[:-1], model.backbone.stages[-1][0]]
    convs = [m for part in parts for m in part.modules() if isinstance(m, torch.nn.Conv2d)]
    has_position = hasattr(type(model.backbone), 'build_position') and family != 'Spikingformer'
    number = {4: 5, 2: 2 + has_position, 1: 1, 'sequence': 4 + has_position}[stem]
    assert len(convs) == number
    assert sum(isinstance(m, PositionEmbedding) for m in model.modules()) == (stem == 1)
    assert {conv.kernel_size[0] for conv in convs[:4]} == {1} if sequence else True
    shape = (1, 1, 98) if sequence else (3, 16, 16)
    data = batch(shape=shape)
    if sequence:
        model.data_preprocessor._enable_normalize = False
    train_a_step(model, data)
    tokens = model.backbone(torch.rand(2, *shape))[-1].shape[-2:]
    assert tokens == ((1, 8) if sequence else (2, 2))


@everyone
@pytest.mark.parametrize('num_steps', [1, 2, 5])
def test_steps_run_in_every_family(family, num_steps):
    model = build(family, num_steps=num_steps)
    seen = set()
    for node in spiking(model):
        node.register_forward_hook(
            lambda module, inputs, out: seen.update({len(inputs[0]), len(out)})
        )
    train_a_step(model)
    assert seen == {num_steps}


@everyone
@pytest.mark.parametrize('mixed', [False, True])
@pytest.mark.parametrize('name', LOSSES)
def test_loss_trains_every_family(family, name, mixed):
    mix = dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    )
    model = build(family, head=dict(loss=LOSSES[name]), train_cfg=mix if mixed else None)
    losses = train_a_step(model)
    assert (
        set(losses) == {'loss'}
        and type(model.head.loss_module).__name__ == LOSSES[name]['type'].split('.')[1]
    )
    model = awake(build(family, head=dict(loss=LOSSES[name])))
    data = model.data_preprocessor(batch(), False)
    steps, logits, _ = model.head.logits(model.extract_feat(data['inputs']))
    assert steps.shape == (STEPS, 4, CLASSES), 'per-step logits in every family'
    assert steps.any() and not torch.equal(steps[0], steps[-1])
    if name == 'tet':
        target = torch.tensor([sample.gt_label.item() for sample in data['data_samples']])
        cross = torch.stack(
            [torch.nn.functional.cross_entropy(step, target) for step in steps]
        ).mean()
        expected = 0.95 * cross + 0.05 * (steps - 1).square().mean()
        torch.testing.assert_close(model(**data, mode='loss')['loss'], expected)


@everyone
@pytest.mark.parametrize('mode', ['mean', 'sum', 'last', 'max', 'membrane'])
def test_readout_runs_in_every_family(family, mode):
    """What the loss judges is what is predicted, in training and in evaluation."""
    model = build(family, head=dict(readout=mode))
    train_a_step(model)
    data = awake(model).data_preprocessor(batch(), False)
    steps, logits, _ = model.head.logits(model.extract_feat(data['inputs']))
    assert steps.any() and not torch.equal(steps[0], steps[-1])
    expected = dict(
        mean=steps.mean(0),
        sum=steps.sum(0),
        last=steps[-1],
        max=steps.amax(0),
        membrane=sum(step * 0.5 ** (STEPS - t) for t, step in enumerate(steps)),
    )[mode]
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(model(data['inputs']), expected)
    predicted = model(**data, mode='predict')
    torch.testing.assert_close(torch.stack([p.pred_score for p in predicted]), expected.softmax(1))
    target = torch.tensor([sample.gt_label.item() for sample in data['data_samples']])
    torch.testing.assert_close(
        model(**data, mode='loss')['loss'], torch.nn.functional.cross_entropy(expected, target)
    )


@everyone
@pytest.mark.parametrize('mode', ['hard', 'soft'])
def test_distillation_trains_every_family(family, mode):
    teacher = dict(type='mmbsa.TimmTeacher', model='resnet10t', num_classes=CLASSES, mode=mode)
    model = build(family, teacher=teacher, head=dict(distill=True))
    assert set(train_a_step(model)) == {'loss_label', 'loss_distill'}
