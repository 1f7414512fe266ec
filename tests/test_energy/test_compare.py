"""Quantised twins, break-even rates, audits and pictures."""

import math

import pytest
import torch
from nets import Threshold, family, lif_net
from torch import nn

from mmbsa.energy import count_operations
from mmbsa.energy.audit import audit, markdown, summary
from mmbsa.energy.compare import compare
from mmbsa.energy.costs import FIELD, PRESETS
from mmbsa.energy.plots import bars, over_rate
from mmbsa.energy.rules.quantiser import Quantiser
from mmbsa.energy.twin import bits_for, quantised_twin
from mmbsa.spiking import BINARY, TERNARY, counts


@pytest.fixture(scope='module')
def comparison():
    torch.manual_seed(0)
    return compare(family(), torch.rand(2, 3, 32, 32), cost='step')


def test_bits_match_levels():
    assert [bits_for(t, BINARY) for t in (1, 3, 4, 7, 8)] == [1, 2, 3, 3, 4]
    assert (bits_for(1, counts(4)), bits_for(1, counts(8)), bits_for(4, TERNARY)) == (3, 4, 4)


def test_the_twin_has_the_same_layers_and_one_step():
    model = family()
    twin = quantised_twin(model, None)
    x = torch.rand(2, 3, 32, 32)
    ours, other = count_operations(model, x), count_operations(twin, x, audit=True)
    names = [
        [row.name for row in report.counted() if row.kind in ('conv', 'linear')]
        for report in (ours, other)
    ]
    assert names[0] == names[1] and (ours.steps, other.steps) == (4, 1) and other.violations == []
    layers = {row.name: row.counts for row in other.counted()}
    for row in ours.counted():
        if row.kind == 'conv' and row.input == 'binary':
            assert row.counts.dense == 4 * layers[row.name].dense
    assert model.num_steps == 4 and not any(
        isinstance(module, Quantiser) for module in model.modules()
    )
    assert other.total.updates == other.total.state_reads == 0


def test_bit_serial_accumulates_are_one_bits_times_fan_out():
    quantiser, linear = Quantiser(3, 7, 7.0, 0.5), nn.Linear(6, 5, bias=False)
    x = 9 * torch.rand(4, 6) - 1
    k = x.round().clamp(0, 7).int()
    report = count_operations(nn.Sequential(quantiser, linear), x)
    row = report.counted()[-1].counts
    ones = sum(int(v).bit_count() for v in k.flatten().tolist())
    assert (row.one_bits, row.ac, row.ac_dense, row.ac_events) == (
        ones,
        5 * ones,
        3 * 120,
        5 * int(k.ne(0).sum()),
    )
    assert torch.equal(quantiser(x), k * 0.5)


def test_sums_of_a_twin_s_numbers_are_taken_bit_by_bit():
    quantiser, linear = Quantiser(2, 3, 3.0, 1.0), nn.Linear(6, 5, bias=False)
    x = 4 * torch.rand(4, 6)
    k = x.round().clamp(0, 3).int()

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.quantiser, self.linear = quantiser, linear

        def forward(self, x):
            return self.linear(self.quantiser(x) + self.quantiser(x))

    row = count_operations(Sum(), x, audit=True).counted()[-1]
    ones = sum(int(v).bit_count() for v in (2 * k).flatten().tolist())
    assert (row.input, row.counts.ac, row.counts.ac_dense) == ('bits', 5 * ones, 3 * 120)


def test_signed_quantisers_count_magnitudes():
    quantiser = Quantiser(3, 3, 3.0, 1.0, signed=True)
    x = torch.tensor([[-3.2, -1.0, 0.2, 2.0]])
    assert quantiser(x).tolist() == [[-3, -1, 0, 2]]
    assert (
        count_operations(nn.Sequential(quantiser, nn.Linear(4, 1)), x).total.one_bits
        == 2 + 1 + 0 + 1
    )


def test_weights_are_on_their_grid():
    twin = quantised_twin(lif_net(), w_bits=3, steps=2)
    weight = twin.conv2.weight
    assert max(len(row.unique()) for row in weight.flatten(1)) <= 7
    assert lif_net().conv2.weight.unique().numel() > 7


def test_twins_of_networks_that_take_their_steps():
    x = torch.rand(4, 2, 3, 8, 8)
    result = compare(lif_net(), x, steps=4, twin_inputs=(x.mean(0, keepdim=True),), images=2)
    assert (result.snn.steps, result.twin.steps) == (4, 1)
    assert [layer['bits'] for layer in result.layers()] == [3, 3]


def test_accounts_by_hand(comparison):
    twin, accounts = comparison.twin.total, comparison.accounts
    products = [
        row.counts
        for row in comparison.twin.counted()
        if row.kind in ('conv', 'linear', 'matmul', 'attention')
    ]
    extra = sum(row.counts.ac for row in comparison.twin.counted() if row.kind == 'add')
    dense = sum(counts.dense for counts in products)
    assert accounts['bit-serial'].compute == pytest.approx((4.6 * twin.mac + 0.9 * twin.ac) / 2e9)
    assert accounts['float MAC'].compute == pytest.approx((4.6 * dense + 0.9 * extra) / 2e9)
    assert accounts['int8 MAC'].compute == pytest.approx((0.23 * dense + 0.9 * extra) / 2e9)
    assert accounts['int8 MAC, zeros skipped'].compute < accounts['int8 MAC'].compute
    assert accounts['bit-serial'].by_post()['state'] == 0 < accounts['spiking'].by_post()['state']


def test_break_even_of_a_layer_is_b_rb_over_t(comparison):
    for layer in comparison.layers():
        assert layer['break_even'] == pytest.approx(layer['bits'] * layer['bit_density'] / 4)
    # where every input has as many taps, that is where accumulates are equal
    layer = next(x for x in comparison.layers() if x['layer'].endswith('q.conv'))
    assert layer['ac'] * layer['break_even'] / layer['mean_count'] == pytest.approx(
        layer['twin_ac']
    )


@pytest.mark.parametrize('memory', [False, True])
def test_break_even_is_where_a_sweep_crosses(memory):
    torch.manual_seed(0)
    cost = FIELD.but(name='cheap state', state=0.001, weight=0.01, weights='event')
    result = compare(family(), torch.rand(2, 3, 32, 32), cost=cost)
    rate, target = (
        result.break_even(memory),
        result.bit_serial.total if memory else result.bit_serial.compute,
    )
    factors = [2 * rate / result.snn.rate * i / 400 for i in range(401)]
    energies = [sum(result.at_rate(factor)[: 1 + memory]) for factor in factors]
    assert energies == sorted(energies)
    crossing = next(factor for factor, value in zip(factors, energies) if value >= target)
    assert crossing * result.snn.rate == pytest.approx(rate, abs=2 * rate / 400)


def test_at_the_measured_rate_nothing_changes(comparison):
    assert comparison.at_rate(1.0) == pytest.approx(
        (comparison.energy.compute, comparison.energy.memory)
    )


def test_no_break_even_where_the_silent_network_costs_more(comparison):
    assert (
        comparison.break_even() is None
        or comparison.at_rate(0)[0] + comparison.at_rate(0)[1] <= comparison.bit_serial.total
    )
    dear = compare(
        lif_net(),
        torch.rand(2, 1, 3, 8, 8),
        cost=FIELD.but(state=1e6),
        steps=2,
        images=1,
        twin_inputs=(torch.rand(1, 1, 3, 8, 8),),
    )
    assert (
        dear.break_even() is None
        and 'less energy than the network without spikes' in dear.markdown()
    )


def test_bipolar_attention_has_a_twin():
    x = torch.rand(1, 3, 32, 32)
    result = compare(family(attention=dict(type='mmbsa.BipolarSelfAttention')), x)
    row = next(row for row in result.twin.counted() if row.kind == 'attention')
    assert row.input == 'bits' and row.counts.mac == 0 and row.counts.ac > 0


@pytest.mark.parametrize(
    'kwargs, message',
    [(dict(w_bits=1), 'w_bits must be at least 2'), (dict(a_bits=0), 'a_bits must be at least 1')],
)
def test_bad_widths_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        quantised_twin(lif_net(), **kwargs)


def test_networks_without_a_twin_are_refused():
    with pytest.raises(ValueError, match='no spiking neuron'):
        quantised_twin(nn.Linear(2, 2))
    with pytest.raises(ValueError, match='leaves .* no level'):
        quantised_twin(nn.Sequential(Threshold(TERNARY)), a_bits=1)
    with pytest.raises(ValueError, match='torch.compile'):
        quantised_twin(torch.compile(nn.Linear(2, 2)))


def test_audit_names_the_layer_the_domain_and_the_reason():
    findings = audit(count_operations(family(), torch.rand(1, 3, 32, 32)))
    assert not findings[0].spike_driven and findings[0].reason == 'activation: real, the input'
    assert all(finding.spike_driven for finding in findings[1:])
    assert f'{len(findings) - 1} of {len(findings)} products are spike-driven' in summary(findings)
    assert '| **no** |' in markdown(findings) and 'binary {0..1}' in markdown(findings)


def test_audit_says_why_an_average_is_real():
    model = nn.Sequential(Threshold(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    findings = audit(count_operations(model, torch.randn(2, 3, 4, 4)))
    assert [finding.spike_driven for finding in findings] == [False]
    assert 'avg_pool2d of spikes' in findings[0].reason


def test_audit_of_bsa_and_of_softmax_attention():
    def attention(**cfg):
        report = count_operations(
            family(attention=dict(type='mmbsa.BipolarSelfAttention', **cfg)),
            torch.rand(1, 3, 32, 32),
        )
        return next(f for f in audit(report) if 'bipolar_attention' in f.layer)

    shifted, soft = attention(), attention(normalizer='softmax')
    assert (
        shifted.spike_driven
        and 'shifts' in shifted.reason
        and 'query: ternary {-1..1}' in shifted.reason
    )
    assert not soft.spike_driven and 'value: real' in soft.reason


def test_pictures_are_drawn(comparison, tmp_path):
    for path in (
        bars(comparison.accounts, tmp_path / 'a' / 'bars.png'),
        over_rate(comparison, tmp_path / 'rates.png'),
    ):
        assert path.stat().st_size > 5000
    silent = compare(nn.Sequential(nn.Conv2d(1, 1, 1), Threshold()), torch.zeros(1, 1, 2, 2) - 1e9)
    if not silent.snn.rate:
        with pytest.raises(ValueError, match='never fired'):
            over_rate(silent, tmp_path / 'none.png')


def test_json_and_table_of_a_comparison(comparison):
    data = comparison.as_dict()
    assert set(data['accounts']) == {
        'spiking',
        'bit-serial',
        'int8 MAC',
        'int8 MAC, zeros skipped',
        'float MAC',
    }
    assert data['twin']['rows'] and data['layers']
    assert 'break-even' in comparison.markdown() and math.isfinite(
        data['accounts']['spiking']['total']
    )
    assert PRESETS['step'].pair in comparison.markdown()
