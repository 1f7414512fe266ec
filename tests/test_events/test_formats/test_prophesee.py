"""Prophesee's formats: the block decoders against the formats' rules, word by word."""

import event_writers as write
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbsa import events as ev
from mmbsa.events.formats.prophesee import Evt2, Evt3
from mmbsa.events.formats.source import Request


def evt2_by_word(words):
    high, turns, events = None, 0, []
    for word in words:
        kind = word >> 28
        if kind == 8:
            if high is not None and (word & 0xFFFFFFF) - high < -(2**27):
                turns += 1
            high = word & 0xFFFFFFF
        elif kind <= 1 and high is not None:
            t = turns * 2**34 + (high << 6) + (word >> 22 & 63)
            events.append((word >> 11 & 0x7FF, word & 0x7FF, t, kind))
    return events


def evt3_by_word(words):
    high = low = row = base = polarity = None
    turns, events = 0, []
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if kind == 8:
            if high is not None and value - high < -2048:
                turns += 1
            if value != high:
                low = 0
            high = value
        elif kind == 6:
            low = value
        elif kind == 0:
            row = value & 0x7FF
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind in (2, 4, 5):
            known = high is not None and row is not None
            t = (turns << 24) + ((high or 0) << 12) + (low or 0)
            if kind == 2:
                found = [(value & 0x7FF, value >> 11)]
            else:
                bits = 12 if kind == 4 else 8
                found = (
                    []
                    if base is None
                    else [(base + bit, polarity) for bit in range(bits) if value >> bit & 1]
                )
                base = None if base is None else base + bits
            events += [(x, row, t, p) for x, p in found] if known else []
    return events


def decode(decoder, words, dtype, blocks):
    words, events = np.array(words, dtype), []
    for part in np.array_split(words, blocks):
        if len(part):
            block = decoder(part, 0)
            events += list(zip(*(column.tolist() for column in block[:4])))
    return events


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 80), blocks=st.integers(1, 6))
def test_evt3_is_decoded_by_its_rules(seed, count, blocks):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(Evt3.KNOWN, count)
    values = rng.integers(0, 4096, count) & rng.choice([0xFFF, 0xF], count)
    words = (kinds << 12 | values).tolist()
    decoder = Evt3(Request(path='a.raw'))
    assert decode(decoder, words, '<u2', blocks) == evt3_by_word(words)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 60), blocks=st.integers(1, 6))
def test_evt2_is_decoded_by_its_rules(seed, count, blocks):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(Evt2.KNOWN, count, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.05])
    words = (kinds << 28 | rng.integers(0, 2**28, count)).tolist()
    high = np.cumsum(rng.integers(0, 2**24, count)).tolist()
    words = [8 << 28 | high[i] % 2**28 if word >> 28 == 8 else word for i, word in enumerate(words)]
    assert decode(Evt2(Request(path='a.raw')), words, '<u4', blocks) == evt2_by_word(words)


@pytest.mark.parametrize('kind', range(16))
def test_every_type_of_the_evt3_format_is_known(tmp_path, kind):
    """0x1, 0x9, 0xB, 0xC and 0xD are no types of EVT 3.0."""
    path = tmp_path / 'a.raw'
    start = write.WRITERS['evt3'][0](path, write.some_events())
    path.write_bytes(path.read_bytes() + bytes([0, kind << 4]))
    assert start
    if kind in (0x1, 0x9, 0xB, 0xC, 0xD):
        with pytest.raises(ev.RecordingError, match=f'type 0x{kind:X}'):
            ev.read_events(path)
    else:
        assert len(ev.read_events(path)) >= len(write.some_events())


@pytest.mark.parametrize('name, unit', [('evt2', 4), ('evt3', 2)])
def test_a_word_of_an_unknown_type_is_named(tmp_path, name, unit):
    path = tmp_path / 'a.raw'
    start = write.WRITERS[name][0](path, write.some_events())
    content = bytearray(path.read_bytes())
    content[start + 20 * unit : start + 21 * unit] = b'\xd0' * unit
    path.write_bytes(content)
    with pytest.raises(ev.RecordingError, match=f'at byte {start + 20 * unit} .*type 0xD'):
        ev.read_events(path)


def test_vectors_are_written_by_the_test_data(tmp_path):
    events = write.some_events(size=(2, 30), span=60)
    events = events[np.lexsort((events['x'], events['p'], events['y'], events['t']))]
    write.write_evt3(tmp_path / 'a.raw', events)
    start = write.write_evt3(tmp_path / 'b.raw', events, vectors=False)
    words = np.frombuffer((tmp_path / 'a.raw').read_bytes()[start:], '<u2') >> 12
    assert {4, 5} <= set(words.tolist())
    assert np.array_equal(ev.read_events(tmp_path / 'a.raw'), events)
    assert np.array_equal(ev.read_events(tmp_path / 'b.raw'), events)


@pytest.mark.parametrize(
    'head, size',
    [
        (b'% evt 3.0\n% geometry 1280x720\n% end\n', (720, 1280)),
        (b'% format EVT3;height=480;width=640\n% end\n', (480, 640)),
        (b'% evt 3.0\n', None),
    ],
)
def test_headers_of_raw_files(tmp_path, head, size):
    words = np.array([0x8001, 0x6005, 3, 0x2004], '<u2')
    (tmp_path / 'a.raw').write_bytes(head + words.tobytes())
    assert ev.open_recording(tmp_path / 'a.raw').size == size
    assert ev.read_events(tmp_path / 'a.raw').tolist() == [(4, 3, 4101, 0)]


def test_dat_words(tmp_path):
    path = tmp_path / 'a.dat'
    words = np.array([[5, 3 | 2 << 14 | 1 << 28], [9, 0x3FFF | 0x3FFF << 14]], '<u4')
    path.write_bytes(b'% Data file\n% Version 2\n\x00\x08' + words.tobytes())
    assert ev.read_events(path).tolist() == [(3, 2, 5, 1), (0x3FFF, 0x3FFF, 9, 0)]
    path.write_bytes(b'\x0c\x08' + words.tobytes())  # without a header
    assert len(ev.read_events(path)) == 2
    path.write_bytes(b'% Data file')
    with pytest.raises(ev.TruncatedError, match='a.dat: .*the header does not end'):
        ev.read_events(path)
    path.write_bytes(b'% Data file\n')
    with pytest.raises(ev.TruncatedError, match='type and size are missing'):
        ev.read_events(path)


def test_dat_words_of_version_one(tmp_path):
    """9 bits x, 8 bits y, 1 bit polarity."""
    path = tmp_path / 'a.dat'
    words = np.array([[5, 3 | 2 << 9 | 1 << 17], [9, 0x1FF | 0xFF << 9]], '<u4')
    path.write_bytes(b'% Data file\n% Version 1\n\x00\x08' + words.tobytes())
    assert ev.read_events(path).tolist() == [(3, 2, 5, 1), (0x1FF, 0xFF, 9, 0)]


@pytest.mark.shared
def test_a_real_evt3_recording(shared_path):
    path = shared_path('data/event_file_samples/prophesee_evt3_1280x720.raw')
    content = path.read_bytes()
    start = content.index(b'% system_ID 48\n') + 15
    words = np.frombuffer(content[start:], '<u2')[:60_000]
    expected = evt3_by_word(words.tolist())
    assert ev.read_events(path)[: len(expected)].tolist() == expected
