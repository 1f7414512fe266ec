"""What every spiking backbone has to do, as checks that the tests of the families share."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.models.attentions import BipolarSelfAttention, ProjectedAttention
from mmbsa.registry import MODELS

BSA = dict(type='mmbsa.BipolarSelfAttention')


def build(family, arch, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type=f'mmbsa.{family}', arch=arch, **kwargs))


def image(size=(32, 32), batch=2, channels=3, seed=0):
    """Bright enough for neurons of three layers and more to fire."""
    return 3 * torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed))


def awake(model):
    """Set norms such that every layer fires in evaluation, and return the model in evaluation
    mode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.constant_(norm.weight, 2.0)
        nn.init.constant_(norm.bias, 1.0)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(image(channels=channels_of(model), seed=7))
    return model.eval()


def parameters(family, arch, num_classes):
    """Parameters of the classifier, counted without memory for them."""
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmbsa.SpikingClassifier',
                num_classes=num_classes,
                backbone=dict(type=f'mmbsa.{family}', arch=arch),
            )
        )
    return sum(p.numel() for p in model.parameters())


def neurons(model):
    return [m for m in model.modules() if type(m).__name__.endswith('Node')]


def channels_of(model):
    """Channels of the input."""
    return next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels


def last_block(model):
    return model.stages[-1][-1]


def check_shapes_and_gradients(model, size):
    """Every level has its channels and stride at any size, and every parameter gets a finite
    gradient."""
    outs = model(image(size, channels=channels_of(model)))
    assert len(outs) == len(model.feature_info) == len(model.stages)
    for out, info in zip(outs, model.feature_info):
        expected = [-(-side // info['reduction']) for side in size]
        assert list(out.shape) == [model.num_steps, 2, info['num_chs'], *expected]
    sum(out.square().mean() for out in outs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    for attention in (m for m in model.modules() if isinstance(m, ProjectedAttention)):
        assert all(
            next(part.parameters()).grad.any()
            for part in (attention.q, attention.k)
            if part is not None
        )


def check_event_frames(model):
    frames = 3 * torch.randn(2, model.num_steps, channels_of(model), 32, 32)
    assert model(frames)[-1].shape[:2] == (model.num_steps, 2)
    with pytest.raises(ValueError, match=f'num_steps is {model.num_steps}'):
        model(frames[:, 1:])


def check_bsa_swaps_the_attention_and_nothing_else(native, bsa, number, neuron='LIFNode'):
    assert [(k, v.shape) for k, v in native.named_parameters()] == [
        (k, v.shape) for k, v in bsa.named_parameters()
    ]
    kinds = [m for m in bsa.modules() if isinstance(m, BipolarSelfAttention)]
    assert len(kinds) == number
    for kind in kinds:
        assert {type(n).__name__ for n in (kind.q_neuron, kind.k_neuron, kind.out_neuron)} == {
            'TernaryLIFNode'
        }
        assert kind.options['normalizer'] == 'shiftmax' and kind.options['scale'] == 1.0
    inside = {id(m) for kind in kinds for m in kind.modules()}
    assert {type(m).__name__ for m in neurons(bsa) if id(m) not in inside} == {neuron}
    bsa.load_state_dict(awake(native).state_dict())
    outs = [model.eval()(image(channels=channels_of(native)))[-1] for model in (native, bsa)]
    assert outs[0].any() and not torch.equal(*outs)


def check_neuron_everywhere(family, arch, out_threshold=0.5, **kwargs):
    """Type, threshold and surrogate of the config are those of every neuron; attentions have an
    output threshold."""
    neuron = dict(
        type='mmbsa.ParametricLIFNode',
        init_tau=3.0,
        v_threshold=0.7,
        surrogate_function=dict(type='ATan', alpha=5.0),
    )
    model = build(family, arch, neuron=neuron, **kwargs)
    nodes = neurons(model)
    outputs = {id(m.out_neuron) for m in model.modules() if hasattr(m, 'out_neuron')}
    assert outputs
    for node in nodes:
        assert type(node).__name__ == 'ParametricLIFNode' and node.surrogate_function.alpha == 5.0
        assert type(node.surrogate_function).__name__ == 'ATan'
        assert node.v_threshold == (out_threshold if id(node) in outputs else 0.7)
    model = build(family, arch, neuron=dict(type='mmbsa.IntegerNode', levels=2), **kwargs)
    assert len(neurons(model)) == len(nodes) and {type(n).__name__ for n in neurons(model)} == {
        'IntegerNode'
    }
    model(image(channels=channels_of(model)))[-1].mean().backward()


def check_frozen(model, frozen):
    model.train()
    parts = [model.stem, *model.stages]
    for index, part in enumerate(parts):
        cold = index <= frozen
        assert all(p.requires_grad != cold for p in part.parameters()) and part.training != cold
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(image(channels=channels_of(model)))
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(before[key], value)
    }
    assert bool(changed) == (frozen < len(model.stages))
    assert not any(key.startswith('stem.') for key in changed) or frozen < 0
    assert not any(key.startswith(f'stages.{i}.') for key in changed for i in range(frozen))


def check_checkpointing(plain, saving):
    for model in (plain, saving):
        model.outs = model(image(channels=channels_of(model)))
        sum(out.square().sum() for out in model.outs).backward()
    assert all(torch.equal(a, b) for a, b in zip(plain.outs, saving.outs))
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), saving.buffers()):
        assert torch.equal(a, b), name


def check_repeatable_and_independent(model):
    """Two forwards agree bit for bit, and a sample's maps do not depend on its neighbours."""
    awake(model)
    x = image(batch=4, channels=channels_of(model))
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        first, second, permuted = model(x)[-1], model(x)[-1], model(x[order])[-1]
    assert torch.equal(first, second) and not torch.equal(first[:, 0], first[:, 1])
    torch.testing.assert_close(permuted, first[:, order])


def check_drop_path(model):
    """The last block leaves out whole samples, all steps together, in training only."""
    block, channels = last_block(model)[1], model.feature_info[-1]['num_chs']
    assert block.drop_path_rate > 0.5
    with torch.no_grad():
        for parameter in block.branch[1].norm.parameters():
            parameter.fill_(3.0)  # every output neuron fires, so a kept sample changes
    x = torch.ones(model.num_steps, 64, channels, 2, 2)
    kept = (block.train()(x) != x).flatten(2).any(2)
    assert 0 < kept[0].sum() < 32 and all(torch.equal(kept[0], step) for step in kept)
    assert (block.eval()(x) != x).flatten(2).any(2).all()


def settled(model):
    """The model in float64 and eval mode, with norms that do something."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 1.0, 2.0),
                (module.bias.data, 0.0, 1.5),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return model.double().eval()
