"""The head inside mmpretrain's own classifier and ours, official weights, the teacher, and the
optimizer of the recipes."""

from copy import deepcopy

import family_checks as checks
import pytest
import torch

pytest.importorskip('mmpretrain')
from mmengine.registry import DefaultScope  # noqa: E402
from mmpretrain.registry import MODELS  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from mmbsa.models.layers import TimeReadout  # noqa: E402
from mmbsa.registry import OPTIMIZERS  # noqa: E402

ARCH = dict(embed_dims=16, depth=1, num_heads=2, pooling='0111')
FIRING = dict(type='mmbsa.SpikeDrivenTransformer', arch=ARCH, num_steps=2)
TEACHER = dict(type='mmbsa.TimmTeacher', model='resnet10t', num_classes=4)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def build(kind='mmbsa.SpikingImageClassifier', backbone=FIRING, **kwargs):
    torch.manual_seed(0)
    head = dict(type='mmbsa.SpikingClsHead', num_classes=4) | kwargs.pop('head', {})
    return MODELS.build(dict(type=kind, backbone=deepcopy(backbone), head=head, **kwargs))


def samples(*labels):
    return [DataSample().set_gt_label(label) for label in labels]


def test_head_learns_its_readout_from_the_backbone():
    neuron = dict(type='mmbsa.ParametricLIFNode', init_tau=3.0)
    head = build(backbone=dict(FIRING, neuron=neuron)).head
    assert type(head.neuron).__name__ == 'ParametricLIFNode' and head.in_channels == 16
    assert isinstance(build(head=dict(neuron=None)).head.neuron, torch.nn.Identity)
    resformer = dict(
        type='mmbsa.SpikingResformer',
        num_steps=2,
        arch=dict(
            embed_dims=(8, 16),
            depths=(1, 1),
            num_heads=(1, 2),
            patch_sizes=(2, 1),
            group_size=8,
            stem='3x3',
        ),
    )
    assert build(backbone=resformer).head.head.bias is None


def test_head_inside_mmpretrains_own_classifier():
    """What it cannot ask it has to be told; then both classifiers are the same."""
    with pytest.raises(
        ValueError,
        match="use model.type='mmbsa.SpikingImageClassifier', or set model.head.in_channels",
    ):
        build('ImageClassifier')
    ours = build()
    told = dict(in_channels=16, num_steps=2, neuron=ours.backbone.neuron_cfg)
    theirs = build('ImageClassifier', head=told)
    checks.awake(ours.backbone)
    theirs.load_state_dict(ours.state_dict())
    x = 3 * torch.randn(2, 3, 16, 16)
    assert torch.equal(ours.eval()(x), theirs.eval()(x)) and ours(x).any()
    torch.testing.assert_close(ours.extract_feat(x, stage='pre_logits').shape, torch.Size([2, 16]))


@pytest.mark.parametrize('distill', [False, True])
def test_weights_of_converted_official_classifiers_load(distill):
    official = MODELS.build(
        dict(
            type='mmbsa.SpikingClassifier',
            num_classes=4,
            distill=distill,
            backbone=dict(FIRING, neuron=dict(type='mmbsa.ParametricLIFNode')),
        )
    )
    model = build(
        backbone=dict(FIRING, neuron=dict(type='mmbsa.ParametricLIFNode')),
        head=dict(distill=distill),
    )
    torch.nn.init.normal_(official.head.weight)
    checks.awake(official.backbone)
    assert 'neuron.w' in official.state_dict()
    model.load_state_dict(official.state_dict(), strict=True)
    x = 3 * torch.randn(2, 3, 16, 16)
    assert torch.equal(model.eval()(x), official.eval()(x)) and model(x).any()
    model.load_state_dict(deepcopy(model).state_dict(), strict=True)


def test_mixed_labels_have_no_accuracy():
    model = build(head=dict(cal_acc=True, topk=(1, 2)))
    feats = model.extract_feat(3 * torch.randn(2, 3, 16, 16))
    assert set(model.head.loss(feats, samples(0, 3))) == {
        'loss',
        'accuracy_top-1',
        'accuracy_top-2',
    }
    mixed = [sample.set_gt_score(torch.full((4,), 0.25)) for sample in samples(0, 3)]
    with pytest.raises(ValueError, match='model.head.cal_acc'):
        model.head.loss(feats, mixed)


def test_membrane_readout_is_the_potential_of_a_leaky_integrator():
    x, v = torch.randn(5, 2, 3), torch.zeros(2, 3)
    for x_t in x:
        v = v + (x_t - v) / 3
    torch.testing.assert_close(TimeReadout('membrane', tau=3.0)(x), v)
    with pytest.raises(ValueError, match='readout must be one of mean, sum, max, last, membrane'):
        TimeReadout('median')


def test_teacher_is_no_part_of_the_student():
    model = build(data_preprocessor=dict(mean=[10.0] * 3, std=[20.0] * 3), teacher=TEACHER)
    plain = build()
    assert set(model.state_dict()) == set(plain.state_dict())
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]
    model.train()
    assert not model.teacher.model.training and not any(
        p.requires_grad for p in model.teacher.model.parameters()
    )
    assert deepcopy(model).teacher is model.teacher, 'a moving average shares it'
    before = deepcopy(model.teacher.model.state_dict())
    sum(model.loss(torch.randn(2, 3, 16, 16), samples(0, 1)).values()).backward()
    assert all(
        torch.equal(before[key], value) for key, value in model.teacher.model.state_dict().items()
    )


def test_teacher_sees_its_own_normalisation():
    model = build(
        data_preprocessor=dict(mean=[10.0, 20.0, 30.0], std=[20.0, 30.0, 40.0]), teacher=TEACHER
    )
    pixels = torch.randint(0, 256, (2, 3, 16, 16))
    data = model.data_preprocessor(dict(inputs=pixels), True)
    mean, std = (
        torch.tensor(model.teacher.model.pretrained_cfg[key]).view(-1, 1, 1)
        for key in ('mean', 'std')
    )
    expected = model.teacher.model((pixels / 255 - mean) / std)
    torch.testing.assert_close(
        model.teacher.logits(data['inputs'], model.data_preprocessor),
        expected,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize('mode', ['hard', 'soft'])
def test_distillation_losses(mode):
    model = build(
        teacher=dict(TEACHER, mode=mode, alpha=0.3, temperature=2.0), head=dict(distill=True)
    ).eval()
    checks.awake(model.backbone)
    x, labels = 3 * torch.randn(3, 3, 16, 16), torch.tensor([0, 1, 2])
    losses = model.loss(x, samples(*labels.tolist()))
    _, logits, distilled = model.head.logits(model.extract_feat(x))
    assert logits.any() and distilled.any() and not torch.equal(logits, distilled)
    taught = model.teacher.logits(x, model.data_preprocessor)
    torch.testing.assert_close(
        losses['loss_label'], 0.7 * torch.nn.functional.cross_entropy(logits, labels)
    )
    p, q = (taught / 2).softmax(1), (distilled / 2).softmax(1)
    expected = dict(
        hard=torch.nn.functional.cross_entropy(distilled, taught.argmax(1)),
        soft=4 * (p * (p.log() - q.log())).sum(1).mean(),
    )[mode]
    torch.testing.assert_close(losses['loss_distill'], 0.3 * expected)
    torch.testing.assert_close(model(x), (logits + distilled) / 2)


def test_a_head_for_distillation_needs_a_teacher_to_train():
    """Evaluation does not."""
    model = build(head=dict(distill=True))
    with pytest.raises(ValueError, match='set model.teacher, or model.head.distill=False'):
        model.loss(torch.randn(2, 3, 16, 16), samples(0, 1))
    assert len(model.eval().predict(torch.randn(2, 3, 16, 16), samples(0, 1))) == 2


def test_bad_teachers_are_named():
    model = build(teacher=dict(TEACHER, num_classes=7))
    with pytest.raises(ValueError, match="teacher 'resnet10t' has 7 classes, the student 4"):
        model.loss(torch.randn(2, 3, 16, 16), samples(0, 1))
    for bad, message in ((dict(mode='firm'), 'teacher.mode'), (dict(alpha=2), 'teacher.alpha')):
        with pytest.raises(ValueError, match=message):
            build(teacher=dict(TEACHER, **bad))


def test_lamb_is_timms():
    from timm.optim import Lamb

    weights = [
        torch.nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
        for _ in range(2)
    ]
    ours = OPTIMIZERS.build(
        dict(type='mmbsa.Lamb', params=weights[:1], lr=0.1, weight_decay=0.05, trust_clip=True)
    )
    theirs = Lamb(weights[1:], lr=0.1, weight_decay=0.05, trust_clip=True)
    for weight, optimizer in zip(weights, (ours, theirs)):
        for _ in range(3):
            weight.grad = weight.detach().sin()
            optimizer.step()
    assert torch.equal(*weights) and isinstance(ours, Lamb)


def test_layer_wise_rates():
    """mmpretrain's constructor asks the backbone for depths: the stem is slowest, the head has the
    full rate."""
    from mmengine.optim import build_optim_wrapper

    model = build()
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='mmbsa.Lamb', lr=1.0, weight_decay=0.1),
            constructor='LearningRateDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    rates = {group['param_name']: group['lr'] for group in wrapper.optimizer.param_groups}
    blocks = sum(len(stage) for stage in model.backbone.stages)
    assert rates['head.head.weight'] == 1.0 and rates['backbone.stem.conv.weight'] == 0.5 ** (
        blocks + 1
    )
    assert rates['backbone.stages.3.1.1.branch.1.conv.weight'] == 0.5
