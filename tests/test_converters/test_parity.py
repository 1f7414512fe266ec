"""Our models against what the official implementations computed: every fixture found is judged.

The fixtures are data: weights, inputs, outputs, gradients, updated buffers, firing counts; see
``parity_fixtures``.
"""

import json
from functools import partial

import pytest
import torch
from parity_fixtures import oracle_folder
from safetensors.torch import load_file
from torch import nn

from mmbsa.converters import RECIPES, build_from_official
from mmbsa.models.attentions.temporal import TemporalInteraction
from mmbsa.models.neurons import IntegerNode, StatelessNode
from mmbsa.spiking import SpikingNeuron

ORACLE = oracle_folder()
#: beginnings of the names of fixtures that have a judge of their own, ``test_<name>_parity.py``:
#: they have several inputs.
ELSEWHERE = ('sdtrack_', 'spike2former_', 'spike_')
NAMES = sorted(
    p.name.removesuffix('.weights.safetensors')
    for p in ORACLE.glob('*.weights.safetensors')
    if not p.name.startswith(ELSEWHERE) and '_det_backbone' not in p.name
)
#: fixtures whose model is not in this package yet, with the reason.
NOT_YET = {name: 'its model is not part of mmbsa yet' for name in NAMES if name not in RECIPES}

#: fixture -> quantity -> largest error seen; ``conftest.py`` prints it when the tests are over.
ERRORS = {}


def note(name, quantity, error):
    """Remember the largest error of a quantity."""
    errors = ERRORS.setdefault(name, {})
    errors[quantity] = max(errors.get(quantity, 0.0), float(error))


def load(name):
    meta = json.loads((ORACLE / f'{name}.json').read_text())
    weights = load_file(ORACLE / f'{name}.weights.safetensors')
    tensors = load_file(ORACLE / f'{name}.io.safetensors')
    args = dict(meta['constructor_args'])
    if meta['T'] is not None:
        args.setdefault('T', meta['T'])
    return meta, tensors, build_from_official(name, weights, **args)


def outputs(model, x):
    """Outputs under the fixtures' names."""
    if hasattr(model, 'decode_head'):
        neck = model.neck(model.backbone(x))
        return {
            'logits': model.decode_head(neck),
            **{f'neck{i}': n.mean(0) for i, n in enumerate(neck)},
        }
    out = model(x)
    return {'output': out} if torch.is_tensor(out) else {f'x{i + 1}': o for i, o in enumerate(out)}


class FiringCounts:
    """What every neuron layer emits, as the fixture counts it: values that are not 0, or the sum of
    integers."""

    def __init__(self, model, meta):
        self.counts = []
        self.integers = any('integer_sum_eval' in layer for layer in meta['firing_rates'])
        skipped = set()
        for module in model.modules():
            if isinstance(
                module, TemporalInteraction
            ):  # runs its neurons step by step; they count, not itself
                skipped |= {module, module.in_neuron, module.out_neuron}
                for neuron in (module.in_neuron, module.out_neuron):
                    neuron.run = partial(
                        self._count_step, len(self.counts), neuron, type(neuron).run
                    )
                    self.counts.append(0)
            elif (
                isinstance(module, (StatelessNode, IntegerNode, SpikingNeuron))
                and module not in skipped
            ):
                module._forward_hooks.clear()
                module.register_forward_hook(self._count)

    def _count_step(self, place, neuron, run, x, state=None):
        out, state = run(neuron, x, state)
        self.counts[place] += int(out.count_nonzero())
        return out, state

    def _count(self, module, _, out):
        out = out.detach().double()
        counted = (
            float(out.sum() * getattr(module, 'norm', 1)) if self.integers else out.count_nonzero()
        )
        self.counts.append(round(float(counted)))


def official_counts(meta, mode):
    """Spikes of every layer; the experts of a mixture neuron have membranes, but what they fire
    goes nowhere."""
    return sorted(
        round(layer.get(f'spikes_{mode}', layer.get(f'integer_sum_{mode}')))
        for layer in meta['firing_rates']
        if '.experts.' not in layer['layer']
    )


@pytest.fixture(scope='module', params=NAMES or ['none'])
def case(request):
    if not NAMES:
        pytest.skip(f'no fixtures in {ORACLE} (set MMBSA_ORACLE_DIR)')
    if request.param in NOT_YET:
        pytest.skip(NOT_YET[request.param])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield request.param, *load(request.param)
    torch.set_num_threads(threads)


def test_no_official_fixture_is_forgotten():
    assert not set(NAMES) - set(RECIPES) - set(NOT_YET)


def test_eval_outputs_and_spikes(case):
    name, meta, tensors, model = case
    counter = FiringCounts(model.eval(), meta)
    with torch.no_grad():
        outs = outputs(model, tensors['input'])
    for key, out in outs.items():
        note(name, 'eval', (out - tensors[f'eval.{key}']).abs().max())
        torch.testing.assert_close(out, tensors[f'eval.{key}'], atol=1e-5, rtol=1e-5)
    assert sorted(counter.counts) == official_counts(meta, 'eval')


def test_train_outputs_gradients_and_buffers(case):
    name, meta, tensors, model = case
    model.train()
    counter = FiringCounts(model, meta)
    x = tensors['input'].clone().requires_grad_()
    outs = outputs(model, x)
    assert sorted(counter.counts) == official_counts(meta, 'train')
    for key, out in outs.items():
        note(name, 'train', (out - tensors[f'train.{key}']).detach().abs().max())
        torch.testing.assert_close(out, tensors[f'train.{key}'], atol=1e-5, rtol=1e-5)
    assert {f'cotangent.{k}' for k in outs} == {k for k in tensors if k.startswith('cotangent.')}
    sum((out * tensors[f'cotangent.{key}']).sum() for key, out in outs.items()).backward()

    ours = {official: key for key, official in model.conversion_report.keys.items()}
    buffers = dict(model.named_buffers())
    for key in (k for k in tensors if k.startswith('train_buffers.')):
        buffer = buffers[ours[key.removeprefix('train_buffers.')]].reshape(tensors[key].shape)
        note(name, 'buffers', (buffer - tensors[key]).abs().max())
        torch.testing.assert_close(buffer, tensors[key], atol=1e-5, rtol=1e-5)

    parameters = dict(model.named_parameters())
    stored = {k.removeprefix('grad.'): v for k, v in tensors.items() if k.startswith('grad.')}
    floor = 1e-6 * max(float(g.norm()) for g in stored.values())
    # scale- or shift-invariant parameters before a batch norm: what is stored for them is rounding
    # noise
    noise = set(meta['params_with_zero_gradient_in_float64']) | set(
        meta['params_with_noisy_gradient']
    )
    judged = 0
    for official, expected in stored.items():
        if official not in ours:
            continue
        grad = parameters[ours[official]].grad.reshape(expected.shape)
        error = float((grad - expected).norm())
        if official in noise:
            assert float(grad.norm()) <= 1e-3 * max(float(g.norm()) for g in stored.values()), (
                official
            )
            continue
        note(name, 'gradients', error / (float(expected.norm()) + floor))
        assert error <= 1e-3 * float(expected.norm()) + floor, (
            f'{official}: {error} of {float(expected.norm())}'
        )
        judged += 1
    assert judged + len(noise & set(stored)) == len(set(stored) & set(ours)) and judged
    if 'grad_input.input' in tensors:
        error = float((x.grad - tensors['grad_input.input']).norm())
        note(name, 'input', error / float(tensors['grad_input.input'].norm()))
        assert error <= 1e-3 * float(tensors['grad_input.input'].norm())


def test_report_names_what_is_unused(case):
    name, meta, tensors, model = case
    report = model.conversion_report
    assert set(report.keys) == set(model.state_dict())
    assert set(report.keys.values()) | set(report.unused) == set(meta['state_keys'])
    no_parameters = (
        'running_mean',
        'running_var',
        'num_batches_tracked',
        'pos_embed_buffer',
        *meta.get('params_not_trainable', ()),
    )
    unused = sum(
        torch.Size(meta['state_keys'][k]).numel()
        for k in report.unused
        if not k.endswith(no_parameters)
    )
    assert sum(p.numel() for p in model.parameters()) + unused == meta['num_parameters']


def test_tensors_that_do_not_fit_are_named():
    model = nn.Linear(2, 2)
    with pytest.raises(KeyError, match='downsample1_2'):
        build_from_official('sdt_v3_cls', model.state_dict())
    with pytest.raises(KeyError, match='sdt_v3_cls'):
        build_from_official('no_such_source', {})
