"""SDTrack against what the official implementation computed, as ``test_parity.py`` judges all
others.
"""

import json

import pytest
import torch
import tracking_fixtures
from safetensors.torch import load_file
from test_parity import note

from mmbsa.converters import RECIPES, build_from_official
from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.neurons import IntegerNode, StatelessNode

pytestmark = pytest.mark.shared
FIXTURES = tracking_fixtures.find('sdtrack_', '.weights.safetensors')
EXACT = dict(atol=1e-5, rtol=1e-5)


@pytest.fixture(scope='module', params=FIXTURES)
def case(request):
    name = request.param.name.removesuffix('.weights.safetensors')
    assert name in RECIPES, f'fixture {name} has no recipe'
    meta = json.loads(request.param.with_name(f'{name}.json').read_text())
    args = dict(meta['constructor_args'])
    if meta['T'] is not None:
        args.setdefault('T', meta['T'])
    model = build_from_official(name, load_file(request.param), **args)
    return name, meta, load_file(request.param.with_name(f'{name}.io.safetensors')), model


def run(model, inputs, mode):
    """Outputs, shaped as the official ones, and the sum of what every neuron layer emits over its
    calls.
    """
    counts, hooks = {}, []
    for name, module in model.train(mode == 'train').named_modules():
        if isinstance(module, (StatelessNode, IntegerNode)):
            counts[name] = 0.0

            def count(module, _, out, name=name):
                counts[name] += float(out.detach().double().sum() * getattr(module, 'norm', 1))

            hooks.append(module.register_forward_hook(count))
    with torch.set_grad_enabled(mode == 'train'):
        outs = model(inputs)
    for hook in hooks:
        hook.remove()
    return outs, sorted(round(count) for count in counts.values())


def official_counts(meta, mode):
    """Per neuron layer; what belongs to one layer of ours (neurons of one unit for three maps) is
    added up.
    """
    sums = {}
    for layer in meta['firing_rates']:
        found = layer.get(f'integer_sum_{mode}', layer.get(f'spikes_{mode}'))
        name = (
            layer['layer']
            .replace('encode_spike2', 'encode_spike')
            .replace('encode_spike3', 'encode_spike')
        )
        sums[name] = sums.get(name, 0) + sum(found if isinstance(found, list) else [found])
    return sorted(round(value) for value in sums.values())


def misread_gradients(model):
    """Make the mistake of torch's batch norm that the stored gradients of one single map contain.

    The backward of ``BatchNorm2d`` on CPUs misreads a gradient (1, C, H, W) that lies in memory
    token by token (torch 2.14). The official attention hands such gradients to the norms of
    q and v, so with T = 1 and one sample the stored gradients of all that comes before are those of
    scrambled ones. With this undone nothing is left of the difference, so every other part of the
    backward is judged as usual.
    """

    def scramble(_, __, out):
        out.register_hook(
            lambda grad: grad.flatten(3).transpose(-1, -2).contiguous().view(grad.shape)
        )

    return [
        branch.register_forward_hook(scramble)
        for module in model.modules()
        if isinstance(module, ProjectedAttention)
        for branch in (module.q, module.v)
    ]


def official_inputs(tensors):
    return {name: tensors[name].float() for name in ('template', 'search')}


def shaped(outs, tensors, mode):
    return {key: out.reshape(tensors[f'{mode}.{key}'].shape) for key, out in outs.items()}


def test_eval_outputs_and_spikes(case):
    name, meta, tensors, model = case
    outs, counts = run(model, official_inputs(tensors), 'eval')
    assert {f'eval.{key}' for key in outs} <= set(tensors) and len(outs) == len(
        meta['outputs']['eval']
    )
    for key, out in shaped(outs, tensors, 'eval').items():
        note(name, 'eval', (out - tensors[f'eval.{key}']).abs().max())
        torch.testing.assert_close(out, tensors[f'eval.{key}'], **EXACT)
    assert counts == official_counts(meta, 'eval')


def test_train_outputs_gradients_and_buffers(case):
    name, meta, tensors, model = case
    inputs = {key: crop.requires_grad_() for key, crop in official_inputs(tensors).items()}
    hooks = misread_gradients(model) if (meta['T'] or 1) * meta['batch'] == 1 else []
    outs, counts = run(model, inputs, 'train')
    outs = shaped(outs, tensors, 'train')
    assert counts == official_counts(meta, 'train')
    for key, out in outs.items():
        note(name, 'train', (out - tensors[f'train.{key}']).detach().abs().max())
        torch.testing.assert_close(out, tensors[f'train.{key}'], **EXACT)
    assert {f'cotangent.{key}' for key in outs} == {
        key for key in tensors if key.startswith('cotangent.')
    }
    sum((out * tensors[f'cotangent.{key}']).sum() for key, out in outs.items()).backward()
    for hook in hooks:
        hook.remove()

    ours = {official: key for key, official in model.conversion_report.keys.items()}
    buffers, parameters = dict(model.named_buffers()), dict(model.named_parameters())
    judged = 0
    for key in (key for key in tensors if key.startswith('train_buffers.')):
        buffer = buffers[ours[key.removeprefix('train_buffers.')]]
        note(name, 'buffers', (buffer - tensors[key]).abs().max())
        torch.testing.assert_close(buffer, tensors[key], **EXACT)
        judged += 1
    assert judged
    stored = {
        key.removeprefix('grad.'): value
        for key, value in tensors.items()
        if key.startswith('grad.')
    }
    largest = max(float(grad.norm()) for grad in stored.values())
    # what is stored for parameters that the loss does not depend on is rounding noise
    noise = set(meta['params_with_zero_gradient_in_float64']) | set(
        meta['params_with_noisy_gradient']
    )
    assert {key for key in stored if key not in ours} <= set(model.conversion_report.unused)
    for official, expected in stored.items():
        if official not in ours:
            continue
        grad = parameters[ours[official]].grad.reshape(expected.shape)
        if official in noise:
            assert float(grad.norm()) <= 1e-3 * largest, official
            continue
        error = float((grad - expected).norm())
        note(name, 'gradients', error / (float(expected.norm()) + 1e-6 * largest))
        assert error <= 1e-3 * float(expected.norm()) + 1e-6 * largest, official
    for key, crop in inputs.items():
        if f'grad_input.{key}' in tensors:
            expected = tensors[f'grad_input.{key}']
            error = float((crop.grad - expected).norm())
            note(name, 'input', error / float(expected.norm()))
            assert error <= 1e-3 * float(expected.norm())


def test_gradients_of_one_map_are_those_of_two_equal_ones(case):
    """Our own gradients with one sample are right: two equal samples give twice as much."""
    _, meta, tensors, model = case
    if (meta['T'] or 1) * meta['batch'] != 1:
        pytest.skip('for fixtures with a single map')
    one, grads = official_inputs(tensors), []
    for copies in (1, 2):
        model.train().zero_grad()
        outs = model({key: torch.cat([crop] * copies) for key, crop in one.items()})
        score = sum(
            (out.sum() if key == 'backbone_feat' else out.square().sum())
            for key, out in outs.items()
        )
        score.backward()
        grads.append({key: parameter.grad.clone() for key, parameter in model.named_parameters()})
    largest = max(float(grad.norm()) for grad in grads[0].values())
    for key, grad in grads[0].items():
        assert (
            float((grads[1][key] / 2 - grad).norm()) <= 1e-3 * float(grad.norm()) + 1e-5 * largest
        ), key


def test_report_names_what_is_unused(case):
    _, meta, _, model = case
    report = model.conversion_report
    assert set(report.keys) == set(model.state_dict())
    assert set(report.keys.values()) | set(report.unused) == set(meta['state_keys'])
    unused = sum(torch.Size(meta['state_keys'][key]).numel() for key in report.unused)
    assert sum(p.numel() for p in model.parameters()) + unused == meta['num_parameters']


def test_samples_of_a_batch_do_not_touch_each_other(case):
    _, _, tensors, model = case
    one = official_inputs(tensors)
    axis = 1 if one['template'].dim() == 5 else 0
    other = {key: crop.flip(-1) for key, crop in one.items()}
    both = {key: torch.cat([one[key], other[key]], axis) for key in one}
    with torch.no_grad():
        model.eval()
        first, second, together = model(one), model(other), model(both)
    for key, out in together.items():
        dim = 1 if key == 'backbone_feat' else 0
        torch.testing.assert_close(out, torch.cat([first[key], second[key]], dim), **EXACT)
