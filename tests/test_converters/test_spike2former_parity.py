"""Spike2Former's head, its parts and its losses against what the official implementation
computed."""

import json

import pytest
import torch
import tracking_fixtures
from safetensors.torch import load_file
from test_parity import FiringCounts, note, official_counts

from mmbsa.converters import RECIPES, build_from_official
from mmbsa.converters.spike2former import criterion_of

pytest.importorskip('mmseg')
from mmbsa.models.segmentation.heads.spike2former import MaskCriterion  # noqa: E402

pytestmark = [pytest.mark.shared, pytest.mark.seg]
FIXTURES = tracking_fixtures.find('spike2former_', '.weights.safetensors')
LOSSES = tracking_fixtures.find('spike2former_loss', '.io.safetensors')
EXACT = dict(atol=1e-5, rtol=1e-5)
#: last axis of tokens (T, B, .., C) to the channel axis of ours, and back.
TO_MAP, TO_TOKENS = (0, 1, 4, 2, 3), (0, 1, 3, 4, 2)


@pytest.fixture(scope='module', params=FIXTURES)
def case(request):
    name = request.param.name.removesuffix('.weights.safetensors')
    # spike2former_head_wide, say, is another instance of spike2former_head
    sources = [source for source in RECIPES if name == source or name.startswith(f'{source}_')]
    assert sources, f'fixture {name} has no recipe'
    meta = json.loads(request.param.with_name(f'{name}.json').read_text())
    weights, tensors = (
        load_file(request.param),
        load_file(request.param.with_name(f'{name}.io.safetensors')),
    )
    return (
        name,
        meta,
        tensors,
        build_from_official(max(sources, key=len), weights, **meta['constructor_args']),
    )


def outputs(name, model, inputs):
    """Outputs under the fixture's names and in its shapes."""
    kind = type(model).__name__
    if kind == 'Spike2FormerHead':
        maps = [inputs[key] for key in sorted(inputs)]
        return dict(zip(('cls_scores', 'mask_preds', 'mask_features'), model.outputs(maps)))
    if kind == 'Spike2FormerPixelDecoder':
        memory = []
        handle = model.project_out.neuron.register_forward_hook(
            lambda _, __, out: memory.append(out)
        )
        features, levels = model([inputs[key] for key in sorted(inputs)])
        handle.remove()
        return dict(
            mask_features=features,
            memory=memory[0],
            **{f'ms{index}': level for index, level in enumerate(levels[:3])},
        )
    if kind == 'Spike2FormerDecoderLayer':
        query, key = (inputs[part].transpose(2, 3).unsqueeze(-1) for part in ('query', 'key'))
        query_pos, key_pos = (
            inputs[part].transpose(1, 2).unsqueeze(-1) for part in ('query_pos', 'key_pos')
        )
        return dict(out=model(query, key, query_pos, key_pos).squeeze(-1).transpose(2, 3))
    return dict(out=model(inputs['x'].permute(TO_MAP)).permute(TO_TOKENS))


def official_inputs(meta, tensors):
    return {name: tensors[name].float() for name in meta['inputs']}


def judge(name, mode, outs, tensors):
    assert {f'{mode}.{key}' for key in outs} == {
        key for key in tensors if key.startswith(f'{mode}.')
    } - {'eval.seg_logits'}
    for key, out in outs.items():
        note(name, mode, (out - tensors[f'{mode}.{key}']).detach().abs().max())
        torch.testing.assert_close(out, tensors[f'{mode}.{key}'], **EXACT)


def test_eval_outputs_and_spikes(case):
    name, meta, tensors, model = case
    counter = FiringCounts(model.eval(), meta)
    with torch.no_grad():
        outs = outputs(name, model, official_inputs(meta, tensors))
    assert sorted(counter.counts) == official_counts(meta, 'eval')
    judge(name, 'eval', outs, tensors)


def test_seg_logits(case):
    name, meta, tensors, model = case
    if 'eval.seg_logits' not in tensors:
        pytest.skip('for fixtures with an image')
    maps = [value for _, value in sorted(official_inputs(meta, tensors).items())]
    expected = tensors['eval.seg_logits']
    with torch.no_grad():
        found = model.eval().predict(maps, [dict(img_shape=tuple(expected.shape[-2:]))], {})
    note(name, 'eval', (found - expected).abs().max())
    torch.testing.assert_close(found, expected, **EXACT)


def test_train_outputs_gradients_and_buffers(case):
    name, meta, tensors, model = case
    inputs = {key: value.requires_grad_() for key, value in official_inputs(meta, tensors).items()}
    counter = FiringCounts(model.train(), meta)
    outs = outputs(name, model, inputs)
    assert sorted(counter.counts) == official_counts(meta, 'train')
    judge(name, 'train', outs, tensors)
    assert {f'cotangent.{key}' for key in outs} == {
        key for key in tensors if key.startswith('cotangent.')
    }
    sum((out * tensors[f'cotangent.{key}']).sum() for key, out in outs.items()).backward()

    ours = {official: key for key, official in model.conversion_report.keys.items()}
    buffers, parameters = dict(model.named_buffers()), dict(model.named_parameters())
    stored = [
        key.removeprefix('train_buffers.') for key in tensors if key.startswith('train_buffers.')
    ]
    assert stored
    for key in stored:
        note(name, 'buffers', (buffers[ours[key]] - tensors[f'train_buffers.{key}']).abs().max())
        torch.testing.assert_close(buffers[ours[key]], tensors[f'train_buffers.{key}'], **EXACT)
    grads = {
        key.removeprefix('grad.'): value
        for key, value in tensors.items()
        if key.startswith('grad.')
    }
    largest = max(float(grad.norm()) for grad in grads.values())
    noise = set(meta['params_with_zero_gradient_in_float64']) | set(
        meta['params_with_noisy_gradient']
    )
    assert set(grads) == {
        official for key, official in model.conversion_report.keys.items() if key in parameters
    }
    for official, expected in grads.items():
        grad = parameters[ours[official]].grad.reshape(expected.shape)
        if official in noise:
            assert float(grad.norm()) <= 1e-3 * largest, official
            continue
        error = float((grad - expected).norm())
        note(name, 'gradients', error / (float(expected.norm()) + 1e-6 * largest))
        assert error <= 1e-3 * float(expected.norm()) + 1e-6 * largest, official
    for key, value in inputs.items():
        if f'grad_input.{key}' in tensors:
            expected = tensors[f'grad_input.{key}']
            error = float((value.grad - expected).norm())
            note(name, 'input', error / float(expected.norm()))
            assert error <= 1e-3 * float(expected.norm())


def test_every_official_tensor_has_a_place(case):
    _, meta, _, model = case
    report = model.conversion_report
    assert set(report.keys) == set(model.state_dict()) and not report.unused
    assert set(report.keys.values()) == set(meta['state_keys'])
    assert sum(p.numel() for p in model.parameters()) == meta['num_parameters']


@pytest.mark.parametrize('path', LOSSES)
def test_losses_equal_the_fixture(path):
    name = path.name.removesuffix('.io.safetensors')
    meta, tensors = json.loads(path.with_name(f'{name}.json').read_text()), load_file(path)
    criterion = MaskCriterion(
        meta['constructor_args']['num_classes'], **criterion_of(meta['constructor_args'])
    )
    for case in meta['cases']:
        scores, masks = (
            tensors[f'{case}.{key}'].float().requires_grad_()
            for key in ('cls_scores', 'mask_preds')
        )
        targets = criterion.targets(tensors[f'{case}.gt_sem_seg'].long())
        count = criterion.count(targets, scores.size(2))
        assert [count] * len(scores) == meta['results'][case]['avg_factor']
        assert [target.labels.tolist() for target in targets] == meta['results'][case][
            'labels_per_image'
        ]
        total = 0
        for layer, (score, mask) in enumerate(zip(scores, masks)):
            matches = criterion.match(score, mask, targets)
            labels = criterion.query_labels(targets, matches, scores.size(2))
            assert torch.equal(labels, tensors[f'{case}.target_labels'][layer].long())
            prefix = '' if layer == len(scores) - 1 else f'd{layer}.'
            for key, loss in criterion.losses(score, mask, targets, matches, count).items():
                expected = tensors[f'{case}.loss.{prefix}{key}'].squeeze()
                torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-7)
                total = total + loss
        total.backward()
        for key, value in (('cls_scores', scores), ('mask_preds', masks)):
            expected = tensors[f'{case}.grad.{key}']
            error = float((value.grad - expected).norm())
            note(name, 'gradients', error / max(float(expected.norm()), 1e-12))
            assert error <= 1e-3 * float(expected.norm()), (case, key)


@pytest.mark.parametrize(
    'wrong', [dict(kernel_size=5), dict(stride=2), dict(offset_scale=0.5), dict(dilation=2)]
)
def test_options_that_are_not_converted_are_named(wrong):
    """The official options of the deformable attention have one value each in every config."""
    found = [path for path in (mark.values[0] for mark in FIXTURES) if path and '_dcn' in path.name]
    if not found:
        pytest.skip('there is no fixture of the deformable attention')
    args = json.loads((found[0].parent / 'spike2former_dcn.json').read_text())['constructor_args']
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build_from_official('spike2former_dcn', load_file(found[0]), **{**args, **wrong})
