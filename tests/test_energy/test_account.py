"""Energy from counts: presets, policies, posts, forms, and what a report says."""

import csv
import io
import json

import pytest
import torch
from nets import family, lif_net
from torch import nn

from mmbsa.energy import OpCounter, Report, count_operations
from mmbsa.energy.account import COMPUTE, MEMORY, energy, markdown, statements
from mmbsa.energy.costs import ADD, FIELD, MAIN, PRESETS, CostTable, cost_table, horowitz
from mmbsa.energy.report import report_of


@pytest.fixture(scope='module')
def report():
    return count_operations(
        family(attention=dict(type='mmbsa.BipolarSelfAttention')), torch.rand(2, 3, 32, 32)
    )


def test_the_field_s_rule_by_hand(report):
    total = report.total
    wanted = (
        (4.6 * total.mac + 0.9 * total.ac + 0.045 * total.shifts + 0.9 * total.gates) / 2 * 1e-9
    )
    result = energy(report, 'field')
    assert (
        result.compute == pytest.approx(wanted, rel=1e-12)
        and result.memory == 0
        and total.shifts > 0
    )
    assert result.total == result.compute


def test_step_adds_membranes_and_weights(report):
    total = report.total
    result = energy(report, 'step')
    assert result.by_post()['state'] == pytest.approx(
        (total.state_reads + total.state_writes) * 32 * 3.12 / 2 * 1e-9
    )
    assert result.by_post()['weights'] == pytest.approx(total.words_once * 32 * 3.12 / 2 * 1e-9)
    assert result.compute == energy(report, 'field').compute


def test_published_magnitudes_of_the_common_example():
    """energy.md 1.5: 56.2 M updates of 32 bits at 3.12 pJ are 11.22 mJ; 29.68 M weights read once
    2.96 mJ.
    """
    step = PRESETS['step']
    assert 56.2e6 * 2 * step.state_bits * step.state * 1e-9 == pytest.approx(11.22, abs=0.01)
    assert 29.68e6 * step.weight_bits * step.weight * 1e-9 == pytest.approx(2.96, abs=0.01)
    assert 6.49e9 * step.weight_bits * step.weight * 1e-9 == pytest.approx(647.9, abs=0.2)


@pytest.mark.parametrize(
    'policy, words',
    [
        ('event', 'words_event'),
        ('once', 'words_once'),
        ('per_step', 'words_step'),
        ('dense', 'words_dense'),
    ],
)
def test_weight_policies(report, policy, words):
    cost = PRESETS['step'].but(weights=policy)
    assert energy(report, cost).by_post()['weights'] == pytest.approx(
        getattr(report.total, words) * 32 * 3.12 / 2 * 1e-9
    )


def test_policies_are_ordered_and_steps_are_four():
    report = count_operations(lif_net(), torch.rand(4, 2, 3, 8, 8), images=2)
    total = report.total
    assert total.words_step == 4 * total.words_once and total.words_event <= total.words_dense


def test_options_of_a_table(report):
    total = report.total
    base = energy(report, FIELD).compute
    assert energy(report, FIELD.but(repeats_equal_steps=True)).compute - base == pytest.approx(
        4.6 * (total.mac_repeated - total.mac) / 2e9
    )
    assert energy(report, FIELD.but(folds_norms=False)).compute - base == pytest.approx(
        4.6 * total.norm_macs / 2e9
    )
    assert energy(report, FIELD.but(counts_bias=True)).compute - base == pytest.approx(
        0.9 * total.bias_adds / 2e9
    )
    assert total.mac_repeated == 4 * total.mac > 0 and total.norm_macs > 0 and total.bias_adds > 0


def test_counts_and_events_are_different_prices():
    report = count_operations(family('ESpikeFormer', arch='t'), torch.rand(1, 3, 32, 32))
    by_counts, by_events = energy(report, FIELD), energy(report, FIELD.but(by_events=True))
    assert by_counts.compute - by_events.compute == pytest.approx(
        0.9 * (report.total.ac - report.total.ac_events) * 1e-9
    )


def test_activations_are_written_by_neurons_and_read_by_layers():
    report = count_operations(lif_net(), torch.rand(2, 1, 3, 8, 8), images=1)
    rows = {row.name: row.counts for row in report.counted()}
    cost = CostTable('mine', 'test', activation=1.0, activations='dense')
    bits = (
        rows['lif1'].updates
        + rows['conv2'].in_values
        + rows['lif2'].updates
        + rows['head'].in_values
        + 32 * rows['conv1'].in_values
    )
    assert energy(report, cost).by_post()['activations'] == pytest.approx(bits * 1e-9)
    events = rows['conv2'].in_events + rows['head'].in_events + 32 * rows['conv1'].in_events
    assert energy(report, cost.but(activations='event')).by_post()['activations'] == pytest.approx(
        events * 1e-9
    )


@pytest.mark.parametrize('name', PRESETS)
def test_parts_and_posts_and_layers_add_up(report, name):
    result = energy(report, name)
    assert sum(c + m for c, m in result.parts().values()) == pytest.approx(result.total)
    assert sum(result.by_post().values()) == pytest.approx(result.total)
    layers = sum(sum(account[key] for key in (*COMPUTE, *MEMORY)) for _, account in result.rows)
    assert layers / report.images * 1e-9 == pytest.approx(result.total)
    assert PRESETS[name].source and set(MAIN) <= set(PRESETS)


def test_units_are_the_cited_ones():
    assert FIELD.mac == pytest.approx(ADD['fp32'] + 3.7) == 4.6 and FIELD.shift == FIELD.ac / 20
    assert horowitz('int8').mac == pytest.approx(0.23) and horowitz('int32').mac == pytest.approx(
        3.2
    )
    assert horowitz('fp16').mac == pytest.approx(1.5) and horowitz('fp32', '1MB').weight == 100 / 64
    assert PRESETS['yan'].ac == 0.05448


def test_user_s_tables(tmp_path):
    path = tmp_path / 'chip.json'
    path.write_text(json.dumps(dict(mac=2.0, ac=0.5)))
    assert cost_table(path) == CostTable('chip', str(path), mac=2.0, ac=0.5)
    assert cost_table(dict(ac=1.0)).ac == 1.0


@pytest.mark.parametrize(
    'bad, message',
    [
        ('gold', "'gold' is neither a preset"),
        (dict(max=1), 'has max'),
        (dict(ac=-1.0), 'ac must be a number >= 0'),
        (dict(ac='one'), 'ac must be a number'),
        (dict(weights='never'), 'weights must be one of'),
        (dict(activations='all'), 'activations must be one of'),
    ],
)
def test_bad_tables_name_what_is_wrong(bad, message):
    with pytest.raises(ValueError, match=message):
        cost_table(bad)


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / 'chip.json'
    for content, message in (('{', 'not valid JSON'), ('[1]', 'has list')):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            cost_table(path)
    with pytest.raises(ValueError, match='kind must be one of'):
        horowitz('int4')


def test_a_model_that_never_ran_is_refused():
    with pytest.raises(ValueError, match='never ran'):
        energy(report_of(OpCounter(nn.Linear(2, 2)), 0))


def test_json_is_whole(report):
    data = json.loads(report.json())
    again = Report.from_dict(data)
    assert again.total == report.total and [row.key for row in again.rows] == [
        row.key for row in report.rows
    ]
    assert energy(again, 'yan').total == energy(report, 'yan').total
    assert (
        data['definitions']['rate'] and data['steps'] == 4 and data['rows'][0]['rate'] is not None
    )
    with pytest.raises(ValueError, match='not a report'):
        Report.from_dict({'rows': []})


def test_csv_has_a_line_per_row(report):
    lines = list(csv.DictReader(io.StringIO(report.csv())))
    assert len(lines) == len(report.counted())
    assert sum(int(line['ac']) for line in lines) == report.total.ac


def test_markdown_and_statements_say_what_decides(report):
    text = markdown(energy(report, 'step'))
    for needed in (
        'T = 4',
        'MAC 4.6 pJ against AC 0.9 pJ',
        'computed once',
        'norms are folded',
        'shiftmax',
        'read once',
        '| stem |',
        '| **total** |',
        'mean count',
    ):
        assert needed in text, needed
    unknown = count_operations(nn.Sequential(Odd()), torch.rand(2))
    assert 'without a rule: aten::special_bessel_j0 (1 calls)' in ' '.join(
        statements(energy(unknown))
    )


class Odd(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x) + x


def test_components_follow_names_and_classes():
    import timm

    report = count_operations(
        timm.create_model('vit_tiny_patch16_224', img_size=32, depth=1), torch.rand(1, 3, 32, 32)
    )
    assert set(report.by('component')) >= {'stem', 'attention', 'mlp', 'head'}
    ours = count_operations(family(), torch.rand(1, 3, 32, 32))
    assert set(ours.by('component')) == {'stem', 'attention', 'mlp', 'body'}
