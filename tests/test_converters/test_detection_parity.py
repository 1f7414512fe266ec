"""Backbones, neck and heads of detectors against what the official implementations computed.

Fixtures are found by their names, ``*_det_backbone`` and ``spike_*`` parts of detectors, in
``MMBSA_ORACLE_DIR`` (by default ``../shared/oracle`` beside the checkout). Neck and heads have
exact fixtures: they must agree to the last bit.
"""

import json

import pytest
import torch
from parity_fixtures import oracle_folder
from safetensors.torch import load_file

pytest.importorskip('mmdet')
from mmbsa.converters import RECIPES, build_from_official  # noqa: E402

ORACLE = oracle_folder()
PARTS = ('spike_fpn', 'spike_rpn_head', 'spike_bbox_head', 'spike_mask_head')
FILES = sorted(
    path
    for pattern in ('*_det_backbone', *(f'{part}*' for part in PARTS))
    for path in ORACLE.glob(f'{pattern}.weights.safetensors')
)
pytestmark = [pytest.mark.shared, pytest.mark.det]


def named(source, out):
    """Outputs under the fixtures' names."""
    if source == 'spike_rpn_head':
        return {
            f'{key}{i}': x for key, levels in zip(('cls', 'reg'), out) for i, x in enumerate(levels)
        }
    if source == 'spike_bbox_head':
        return dict(zip(('cls_score', 'bbox_pred'), out))
    if torch.is_tensor(out):
        return {'mask_preds': out}
    return {f'{"out" if source == "spike_fpn" else "feat"}{i}': x for i, x in enumerate(out)}


@pytest.fixture(
    scope='module',
    params=FILES or [None],
    ids=lambda path: path.name.split('.')[0] if path else 'none',
)
def case(request):
    if request.param is None:
        pytest.skip(f'no fixtures in {ORACLE} (set MMBSA_ORACLE_DIR)')
    name = request.param.name.removesuffix('.weights.safetensors')
    source = next(
        (key for key in sorted(RECIPES, key=len, reverse=True) if name.startswith(key)), None
    )
    assert source, f'no converter for the fixture {name}'
    meta = json.loads((ORACLE / f'{name}.json').read_text())
    return source, meta, load_file(request.param), load_file(ORACLE / f'{name}.io.safetensors')


def build(source, meta, weights, **args):
    args = {**meta['constructor_args'], **args}
    if meta['T'] is not None:
        args.setdefault('T', meta['T'])
    return build_from_official(source, weights, **args)


def run(source, meta, tensors, model):
    inputs = [tensors[key].clone().requires_grad_() for key in meta['inputs']]
    return inputs, named(source, model(inputs[0] if len(inputs) == 1 else inputs))


def compare(source, found, expected):
    if source in PARTS:
        assert torch.equal(found, expected)
    else:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_outputs_in_evaluation(case):
    source, meta, weights, tensors = case
    model = build(source, meta, weights).eval()
    with torch.no_grad():
        outs = run(source, meta, tensors, model)[1]
    assert {f'eval.{key}' for key in outs} == {key for key in tensors if key.startswith('eval.')}
    for key, out in outs.items():
        compare(source, out, tensors[f'eval.{key}'])


def test_neck_without_the_quirk_keeps_its_range_in_evaluation(case):
    source, meta, weights, tensors = case
    if source != 'spike_fpn':
        pytest.skip('only the neck has another range in evaluation')
    model = build(source, meta, weights, official_quirks=False).eval()
    with torch.no_grad():
        outs = run(source, meta, tensors, model)[1]
    assert all(torch.equal(out, tensors[f'eval_range4.{key}']) for key, out in outs.items())
    assert not all(torch.equal(out, tensors[f'eval.{key}']) for key, out in outs.items())


def test_outputs_and_gradients_in_training(case):
    source, meta, weights, tensors = case
    model = build(source, meta, weights).train()
    inputs, outs = run(source, meta, tensors, model)
    for key, out in outs.items():
        compare(source, out.detach(), tensors[f'train.{key}'])
    sum((out * tensors[f'cotangent.{key}']).sum() for key, out in outs.items()).backward()
    ours = {official: key for key, official in model.conversion_report.keys.items()}
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for key in (key for key in tensors if key.startswith('train_buffers.')):
        expected = tensors[key]
        torch.testing.assert_close(
            buffers[ours[key.removeprefix('train_buffers.')]].reshape(expected.shape),
            expected,
            atol=1e-5,
            rtol=1e-5,
        )
    stored = {
        key.removeprefix('grad.'): value
        for key, value in tensors.items()
        if key.startswith('grad.')
    }
    largest = max(float(grad.norm()) for grad in stored.values())
    noise = set(meta['params_with_zero_gradient_in_float64']) | set(
        meta['params_with_noisy_gradient']
    )
    judged = 0
    for official, expected in stored.items():
        if official in noise:
            continue
        error = (parameters[ours[official]].grad.reshape(expected.shape) - expected).norm()
        assert error <= 1e-3 * expected.norm() + 1e-6 * largest, official
        judged += 1
    assert judged
    for x, key in zip(inputs, meta['inputs']):
        if f'grad_input.{key}' in tensors:
            expected = tensors[f'grad_input.{key}']
            assert (x.grad - expected).norm() <= 1e-3 * expected.norm() + 1e-6 * largest


def test_every_official_tensor_has_a_place(case):
    source, meta, weights, _ = case
    model = build(source, meta, weights)
    assert set(model.conversion_report.keys.values()) == set(meta['state_keys'])
    assert sum(p.numel() for p in model.parameters()) == meta['num_parameters']


@pytest.mark.parametrize('source', [*PARTS, 'sdtv3_det_backbone', 'sdt_v2_det_backbone'])
def test_other_state_dicts_are_refused(source):
    with pytest.raises(KeyError, match='no tensor|has no tensor|needs'):
        build_from_official(source, torch.nn.Linear(2, 2).state_dict())
