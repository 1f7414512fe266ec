"""What the counter sees: domains by tag, conservation, implementations, networks of others,
refusals.
"""

import pytest
import torch
import torch.nn.functional as F
from brute import coincidences, conv_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Threshold, family, lif_net
from torch import nn

import mmbsa.ops as ops
from mmbsa.energy import UnknownOpError, count_operations
from mmbsa.energy.rules.registry import RULES
from mmbsa.spiking import BINARY, TERNARY, counts


class Call(nn.Module):
    """A function as a model."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def only(report, kind):
    rows = [row for row in report.counted() if row.kind == kind]
    assert len(rows) == 1
    return rows[0]


def test_images_are_real_whatever_their_values():
    for image in (torch.zeros(1, 3, 6, 6), torch.ones(1, 3, 6, 6)):
        total = count_operations(nn.Conv2d(3, 2, 3), image).total
        assert (total.mac, total.ac) == (2 * 16 * 27, 0)
    assert total.mac_nonzero == total.mac


def test_weights_are_never_spikes():
    linear = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(linear.weight)
    assert count_operations(linear, torch.rand(2, 4)).total.mac == 24
    nn.init.ones_(linear.weight)
    assert count_operations(linear, torch.rand(2, 4)).total.mac == 24


def test_a_silent_layer_stays_spiking():
    report = count_operations(
        Call(lambda m, x: m.conv(m.neuron(x)), neuron=Threshold(), conv=nn.Conv2d(1, 1, 3)),
        -torch.ones(1, 1, 5, 5),
    )
    assert only(report, 'conv').input == 'binary'
    assert (report.total.mac, report.total.ac, report.total.updates) == (0, 0, 25)


@pytest.mark.parametrize(
    'change, kind',
    [
        (lambda x: x.view(2, 12), 'binary'),
        (lambda x: x.reshape(12, 2).t().contiguous().view(2, 12), 'binary'),
        (lambda x: x * 0.5, 'binary'),
        (lambda x: x / 4, 'binary'),
        (lambda x: -x, 'ternary'),
        (lambda x: x + x, 'integer'),
        (lambda x: torch.cat([x, x])[:2], 'binary'),
        (lambda x: x.to(torch.float64).float(), 'binary'),
        (lambda x: x.clone(), 'binary'),
        (lambda x: F.pad(x, (1, 1))[:, 1:-1], 'binary'),
        (lambda x: x.amax(0, keepdim=True), 'binary'),
        (lambda x: torch.zeros_like(x) + x, 'binary'),
        (lambda x: x * x.flip(0), 'binary'),
        (lambda x: x - x.flip(0), 'ternary'),
        (lambda x: x + 0.5 * x, 'sum of spikes'),
        (lambda x: x.mean(0, keepdim=True), 'real'),
        (lambda x: x.exp(), 'real'),
        (lambda x: x.where(x > 2, torch.zeros(())), 'binary'),
        (lambda x: x.masked_fill(x > 2, 0.0), 'binary'),
        (lambda x: x.masked_fill(x > 2, 0.3), 'real'),
        (lambda x: x.clone().add_(1.5), 'real'),
    ],
)
def test_tags_follow_the_values(change, kind):
    linear = nn.Linear(12, 3, bias=False)
    model = Call(lambda m, x: m.linear(change(m.neuron(x))), neuron=Threshold(), linear=linear)
    report = count_operations(model, torch.randn(2, 12), audit=True)
    row = only(report, 'linear')
    assert row.input == kind and report.violations == []
    assert bool(row.counts.mac) == (kind in ('real', 'sum of spikes'))


def test_a_comparison_and_a_rounded_clamp_are_spikes_without_any_neuron_class():
    linear = nn.Linear(6, 2)
    fired = Call(lambda m, x: m.linear((x >= 0.5).float()), linear=linear)
    assert only(count_operations(fired, torch.rand(3, 6)), 'linear').input == 'binary'
    rounded = Call(lambda m, x: m.linear(torch.round(torch.clamp(x, 0, 4)) / 4), linear=linear)
    row = only(count_operations(rounded, 5 * torch.rand(3, 6), audit=True), 'linear')
    assert (row.input, row.levels) == ('integer', 4)


def test_writing_real_values_into_spikes_makes_them_real():
    def mixed(m, x):
        spikes = m.neuron(x).clone()
        spikes[0] = x[0]
        return m.linear(spikes)

    report = count_operations(
        Call(mixed, neuron=Threshold(), linear=nn.Linear(6, 2)), torch.randn(3, 6)
    )
    assert only(report, 'linear').input == 'real'


def test_audit_reports_spikes_outside_of_their_domain():
    class Liar(Threshold):
        def run(self, x, state=None):
            return 2 * (x > 0).to(x.dtype), state

    model = Call(lambda m, x: m.linear(m.neuron(x)), neuron=Liar(), linear=nn.Linear(4, 2))
    assert count_operations(model, torch.rand(2, 4)).violations == []
    [text] = set(count_operations(model, torch.rand(2, 4), audit=True).violations)
    assert 'declared {0..1}' in text and 'neuron' in text


def test_batch_is_the_sum_of_its_images():
    for model, shape in (
        (family(), (3, 3, 32, 32)),
        (family('ESpikeFormer', arch='t'), (3, 3, 32, 32)),
    ):
        x = torch.rand(*shape)
        whole = count_operations(model, x)
        parts = [count_operations(model, x[i : i + 1]) for i in range(3)]
        together = parts[0] + parts[1] + parts[2]
        assert whole.total.ac > 0
        assert whole.total.as_dict() == {**together.total.as_dict(), 'calls': whole.total.calls}
        assert [row.counts.ac for row in whole.rows] == [row.counts.ac for row in together.rows]


def test_total_is_the_sum_of_rows_and_of_components():
    report = count_operations(family(), torch.rand(2, 3, 32, 32))
    for name in ('ac', 'mac', 'updates', 'words_event', 'shifts'):
        assert getattr(report.total, name) == sum(getattr(row.counts, name) for row in report.rows)
        assert getattr(report.total, name) == sum(
            getattr(part, name) for part in report.by('component').values()
        )


@pytest.mark.parametrize('copied', [False, True])
def test_equal_steps_are_counted_once(copied):
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)

    def steps(m, x):
        x = x.unsqueeze(0).expand(4, *x.shape)
        out = m.conv(x.flatten(0, 1) if copied else x[0])
        return m.neuron(out.unflatten(0, (4, -1)) if copied else out.expand(4, *out.shape))

    report = count_operations(Call(steps, conv=conv, neuron=Threshold()), torch.rand(2, 3, 5, 5))
    row = only(report, 'conv').counts
    dense = 2 * 2 * 25 * 27
    assert (row.mac, row.mac_repeated, row.dense, row.outputs) == (dense, 4 * dense, dense, 100)
    assert only(report, 'neuron').counts.updates == 4 * 100
    assert (row.words_step, row.words_once) == (2 * 54, 2 * 54)


def test_counts_do_not_depend_on_the_implementation(monkeypatch):
    model = family(attention=dict(type='mmbsa.BipolarSelfAttention'))
    x = torch.rand(2, 3, 32, 32)
    found = {}
    for impl in ('auto', *ops.implementations('bipolar_attention')):
        monkeypatch.setenv('MMBSA_OPS_IMPL', impl)
        try:
            found[impl] = count_operations(model, x).total.as_dict()
        except RuntimeError as error:
            assert impl in str(error)
    assert len(found) >= 3 and len({str(total) for total in found.values()}) == 1


def test_attention_written_with_matmul_counts_like_the_op():
    q, k, v = ((torch.rand(2, 3, n, d) > 0.6).float() for n, d in ((4, 5), (6, 5), (6, 7)))
    model = Call(lambda m, q, k, v: (q @ k.transpose(-1, -2)) @ v)
    fused = Call(
        lambda m, q, k, v: ops.bipolar_attention(q, k, v, product='binary', normalizer='none')
    )
    plain = count_operations(model, q, k, v, domain=BINARY, images=1)
    op = count_operations(fused, q, k, v, domain=BINARY, images=1, attention_order='quadratic')
    assert plain.total.ac == op.total.ac > 0 and plain.total.mac == op.total.mac == 0
    wanted = sum(
        coincidences(a.tolist(), b.tolist())[0] for a, b in zip(q.flatten(0, 1), k.flatten(0, 1))
    )
    assert [row.counts.ac for row in plain.counted()][0] == wanted


@pytest.mark.parametrize('domain', [TERNARY, counts(3), BINARY])
def test_a_spike_and_a_real_operand_count_the_spike_s_fan_out(domain):
    generator = torch.Generator().manual_seed(0)
    k = torch.randint(domain.low, domain.high + 1, (2, 4, 5), generator=generator)
    model = Call(lambda m, a, b: (a @ b, b.transpose(-1, -2) @ a.transpose(-1, -2)))
    report = count_operations(
        model, k.float(), torch.rand(2, 5, 3), domain=[domain, None], images=1
    )
    assert [row.counts.ac for row in report.counted()] == 2 * [3 * int(k.abs().sum())]
    assert report.total.mac == 0


def test_real_attention_is_counted_in_full():
    q, k, v = torch.rand(2, 8, 16, 4), torch.rand(2, 8, 16, 4), torch.rand(2, 8, 16, 6)
    total = count_operations(Call(lambda m, *x: F.scaled_dot_product_attention(*x)), q, k, v).total
    assert total.mac == 2 * 8 * 16 * 16 * (4 + 6)


def test_norms_are_beside_the_total_and_layer_norms_are_in_it():
    report = count_operations(nn.Sequential(nn.BatchNorm2d(3)), torch.rand(2, 3, 4, 4))
    assert (report.total.mac, report.total.norm_macs) == (0, 96)
    assert count_operations(nn.LayerNorm(8), torch.rand(2, 8)).total.mac == 32


@pytest.mark.parametrize(
    'layer, shape',
    [
        (nn.Linear(6, 4), (2, 5, 6)),
        (nn.Linear(6, 4), (6,)),
        (nn.Conv1d(3, 2, 3), (2, 3, 9)),
        (nn.Conv1d(3, 2, 3), (3, 9)),
        (nn.Conv3d(1, 2, 2), (1, 1, 4, 4, 4)),
        (nn.ConvTranspose2d(3, 2, 3, stride=2), (1, 3, 4, 4)),
    ],
)
def test_layers_of_any_shape_count_their_dense_work(layer, shape):
    x = torch.rand(*shape)
    report = count_operations(layer, x, images=1)
    out = layer(x)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    weight = layer.weight
    dense = x.numel() * weight[0].numel() if transposed else out.numel() * weight[0].numel()
    assert report.total.mac == dense and report.total.bias_adds == out.numel()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_networks_equal_brute_force(data):
    """Two convolutions with a neuron of random levels between them."""
    pick = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    torch.manual_seed(pick(0, 10**6))
    levels, steps, middle = pick(1, 3), pick(1, 3), pick(1, 3)
    norm = data.draw(st.sampled_from([1.0, float(levels), 4.0]))
    first = nn.Conv2d(2, middle, 3, padding=1)
    second = nn.Conv2d(middle, 2, pick(1, 3), stride=pick(1, 2), padding=pick(0, 1))
    seen = {}

    def forward(m, x):
        seen['spikes'] = ops.integer_spike(3 * m.first(x), levels, norm=norm)
        return m.second(seen['spikes'])

    x = torch.randn(steps, 2, 4, 5)
    report = count_operations(Call(forward, first=first, second=second), x, images=1, audit=True)
    rows = [row for row in report.counted() if row.kind == 'conv']
    k = (seen['spikes'] * norm).round().int()
    out = second(seen['spikes'])
    valid, events, accumulates = conv_pairs(
        k.tolist(),
        second.weight.shape,
        second.stride,
        second.padding,
        (1, 1),
        1,
        out_size=out.shape[2:],
    )
    assert (rows[1].counts.valid, rows[1].counts.events, rows[1].counts.ac) == (
        valid,
        events,
        accumulates,
    )
    assert rows[0].counts.mac == steps * middle * 20 * 18 and report.violations == []


def test_spiking_jelly_s_own_network_agrees_with_its_counters():
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.op_counter import ACCounter, DispatchCounterMode, MACCounter

    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False),
        neuron.LIFNode(step_mode='s'),
        layer.Conv2d(4, 5, 3, stride=2, padding=1, bias=False),
        neuron.LIFNode(step_mode='s'),
        nn.Flatten(2),
        layer.Linear(20, 3, bias=False),
    )
    functional.set_step_mode(net, 'm')
    net.eval()
    x = 3 * torch.randn(4, 2, 2, 4, 4)
    ours = count_operations(net, x, images=2, audit=True)
    functional.reset_net(net)
    theirs = [MACCounter(), ACCounter()]
    with torch.no_grad(), DispatchCounterMode(theirs):
        net(x)
    functional.reset_net(net)
    layers = [row.counts for row in ours.counted() if row.kind in ('conv', 'linear')]
    assert ours.violations == [] and ours.steps == 4 and layers[1].ac > 0
    counted = [counter.get_counts()['Global'] for counter in theirs]
    # their neurons' own adds are no part of layers
    assert sum(v for op, v in counted[0].items() if 'conv' in str(op)) == layers[0].mac
    assert sum(v for op, v in counted[1].items() if 'conv' in str(op)) == layers[1].ac
    assert (
        sum(v for op, v in counted[1].items() if 'mm' in str(op) or 'linear' in str(op))
        == layers[2].ac
    )


def test_a_timm_network_has_no_op_without_a_rule():
    import timm

    report = count_operations(
        timm.create_model('vit_tiny_patch16_224', img_size=32, depth=2),
        torch.rand(1, 3, 32, 32),
        strict=True,
    )
    assert (
        report.total.ac_events >= 0
        and report.total.mac > 1e6
        and report.rate is None
        and report.steps == 1
    )
    assert {row.kind for row in report.rows} >= {'conv', 'linear', 'attention', 'norm', 'add'}


def test_an_op_without_a_rule_is_listed_and_strict_raises():
    model = Call(lambda m, x: torch.special.bessel_j0(x))
    report = count_operations(model, torch.rand(3))
    assert report.unknown == {'aten::special_bessel_j0': (1, 3)}
    with pytest.raises(UnknownOpError, match='aten::special_bessel_j0 has no rule'):
        count_operations(model, torch.rand(3), strict=True)
    assert 'aten::special_bessel_j0' not in RULES


def test_neurons_that_loop_over_steps_are_counted_by_their_rule():
    import mmbsa.models  # noqa: F401
    from mmbsa.registry import MODELS

    for name, leaky, thresholds in (
        ('LIFNode', 1, 1),
        ('IFNode', 0, 1),
        ('TernaryLIFNode', 1, 2),
        ('IntegerNode', 1, 4),
        ('HDLIFNode', 1, 1),
        ('PSN', 0, 1),
        ('EIFNode', 1, 1),
    ):
        cfg = dict(type=f'mmbsa.{name}', **(dict(T=3) if name == 'PSN' else {}))
        report = count_operations(
            nn.Sequential(MODELS.build(cfg)), torch.randn(3, 2, 4), images=2, strict=True
        )
        row = only(report, 'neuron').counts
        assert (row.updates, row.leaks, row.thresholds, row.state_reads) == (
            24,
            24 * leaky,
            24 * thresholds,
            24,
        ), name
        assert report.total.ac == report.total.mac == 0 and report.steps == 3 and report.inside


def test_rates_and_levels_are_apart():
    report = count_operations(family('ESpikeFormer', arch='t'), torch.rand(1, 3, 32, 32))
    assert (report.steps, report.levels) == (1, 4)
    assert any(row.counts.ac > row.counts.ac_events > 0 for row in report.rows)


def test_mode_and_weights_are_left_alone():
    model = lif_net().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_operations(model, torch.rand(2, 1, 3, 8, 8), images=1)
    assert model.training and all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )


def test_output_is_that_of_the_model():
    model, x = lif_net(), torch.rand(2, 1, 3, 8, 8)
    wanted, seen = model(x), []
    handle = model.register_forward_hook(lambda m, i, out: seen.append(out))
    count_operations(model, x, images=1)
    handle.remove()
    assert torch.equal(seen[0], wanted)


def test_compiled_scripted_and_other_things_are_refused():
    for model in (torch.compile(nn.Linear(2, 2)), nn.Sequential(torch.compile(nn.Linear(2, 2)))):
        with pytest.raises(ValueError, match='torch.compile'):
            count_operations(model, torch.rand(1, 2))
    with pytest.raises(ValueError, match='TorchScript'):
        count_operations(torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2)), torch.rand(1, 2))
    with pytest.raises(TypeError, match='expected a torch.nn.Module'):
        count_operations(lambda x: x, torch.rand(1))
    with pytest.raises(ValueError, match='images must be at least 1'):
        count_operations(nn.Linear(2, 2), torch.rand(1, 2), images=0)
    with pytest.raises(ValueError, match='attention_order'):
        count_operations(nn.Linear(2, 2), torch.rand(1, 2), attention_order='best')


def test_a_failing_model_leaves_no_hooks_behind():
    model = Call(lambda m, x: m.linear(x), linear=nn.Linear(2, 2))
    with pytest.raises(RuntimeError):
        count_operations(model, torch.rand(1, 3))
    assert torch._C._len_torch_dispatch_stack() == 0
    assert (
        not nn.modules.module._global_forward_hooks
        and not nn.modules.module._global_forward_pre_hooks
    )
