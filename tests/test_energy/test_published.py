"""Published energies come out of the operations that were released, under the rule that each paper
used.
"""

import pytest

from mmbsa.energy import published as p


def test_spikingformer_8_512_from_the_rows_of_its_log():
    layers = p.spikingformer_8_512()
    macs, acs = (
        sum(x.macs for x in layers),
        sum(x.acs for x in layers) + p.spikingformer_8_512_attention(),
    )
    assert len(layers) == 54
    assert macs == 347329512
    assert acs == pytest.approx(6.51754094076244e9, rel=1e-12)
    assert p.field_rule(macs, acs) == pytest.approx(7.463502601886196, rel=1e-12)


@pytest.mark.parametrize('entry', p.SPIKINGFORMER, ids=lambda x: x.model)
def test_spikingformer_follows_its_own_rule(entry):
    assert entry.by_its_rule == entry.by_own_stem
    assert entry.by_its_rule == pytest.approx(entry.mj, abs=0.006)


def test_spikingformer_8_768_lies_between_its_log_and_its_table():
    acs, logged = p.SPIKINGFORMER_768_LOG
    entry = p.SPIKINGFORMER[2]
    assert p.field_rule(entry.macs, acs * 1e9) == pytest.approx(logged, abs=1e-4)
    assert logged < 13.66 <= entry.by_its_rule < 13.685


@pytest.mark.parametrize('entry', p.SPIKFORMER, ids=lambda x: x.model)
def test_spikformer_charges_the_stem_of_the_512_models_everywhere(entry):
    assert entry.mj - p.E_AC * entry.giga_acs == pytest.approx(1.596, abs=5e-4)
    assert entry.by_its_rule == pytest.approx(entry.mj, abs=1e-3)
    assert entry.mj - entry.by_own_stem == pytest.approx(
        {384: 0.399, 512: 0, 768: -0.798}[entry.width], abs=1e-3
    )


def test_spikeyolo_has_two_slips():
    assert p.SPIKEYOLO_FIRST == pytest.approx(4.14)
    assert p.spikeyolo_block_12() == pytest.approx(0.461, abs=1.1e-3)
    assert p.SPIKEYOLO_SHEET - p.SPIKEYOLO_BLOCK_12 + p.spikeyolo_block_12() == pytest.approx(
        34.834, abs=1e-3
    )
