"""Recordings in all formats, written from events by the formats' descriptions."""

import struct

import numpy as np

from mmbsa import events as ev

SIZE = (120, 128)


def some_events(count=300, size=SIZE, seed=0, span=90_000, start=0):
    """Return events in the order of time."""
    rng = np.random.default_rng(seed)
    return ev.make_events(
        rng.integers(0, size[1], count),
        rng.integers(0, size[0], count),
        np.sort(rng.integers(0, span, count)) + start,
        rng.integers(0, 2, count),
    )


def columns(events):
    return (events[name].astype(np.int64) for name in 'xytp')


def write_aedat2(path, events, chip=None, davis=True, others=()):
    """Write AEDAT 2; ``others`` are (index, address) of words that are no events."""
    x, y, t, p = columns(events)
    address = y << 22 | x << 12 | p << 11 if davis else y << 8 | x << 1 | p
    words = list(zip(address.tolist(), t.tolist()))
    for index, other in others:
        words.insert(index, (other, words[min(index, len(words) - 1)][1]))
    head = b'#!AER-DAT2.0\r\n# Timestamps tick is 1 us\r\n'
    if chip:
        head += f'# AEChip: {chip}\r\n'.encode()
    path.write_bytes(head + np.array(words, '>u4').tobytes())
    return len(head)


def write_aedat1(path, events, header=b''):
    x, y, t, p = columns(events)
    rows = np.zeros(len(events), [('address', '>u2'), ('t', '>u4')])
    rows['address'], rows['t'] = y << 8 | x << 1 | p, t
    path.write_bytes(header + rows.tobytes())
    return len(header)


def packet3(words, kind=1, source=0, size=8, turns=0):
    count = len(words) * words.itemsize * (words.shape[1] if words.ndim > 1 else 1) // size
    return (
        struct.pack('<HHIIIIII', kind, source, size, 4, turns, count, count, count)
        + words.tobytes()
    )


def write_aedat3(path, events, source='DVS128', per_packet=100, extra=()):
    """Write AEDAT 3.1 with a frame packet and an invalid event between the events' packets."""
    head = (
        f'#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: {source}\r\n'
        '#Start-Time: 2020-01-01 00:00:00 (TZ+0000)\r\n#!END-HEADER\r\n'
    ).encode()
    body = b''
    x, y, t, p = columns(events)
    for first in range(0, len(events), per_packet):
        part = slice(first, first + per_packet)
        word = x[part] << 17 | y[part] << 2 | p[part] << 1 | 1
        rows = np.stack([word, t[part] & 0x7FFFFFFF], 1).astype('<u4')
        for turns in np.unique(t[part] >> 31):
            body += packet3(rows[t[part] >> 31 == turns], turns=int(turns))
        body += packet3(np.full((3, 9), 7, '<u4'), kind=2, size=36)
        body += packet3(np.array([[5 << 17 | 6 << 2, 1]], '<u4'))  # not valid
    path.write_bytes(head + body + b''.join(extra))
    return len(head)


def flatbuffer(identifier, fields):
    """Return a size-prefixed flatbuffer of one table; fields are (kind, value) or None."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    made = []
    for kind, value in (field or (None, None) for field in fields):
        if kind == 'string':
            value = builder.CreateString(value)
        elif kind == 'events':
            builder.StartVector(16, len(value), 8)
            for x, y, t, p in value[::-1].tolist():
                builder.Prep(8, 16)
                builder.Pad(3)
                builder.PrependBool(bool(p))
                builder.PrependInt16(y)
                builder.PrependInt16(x)
                builder.PrependInt64(t)
            value = builder.EndVector()
        made.append((kind, value))
    builder.StartObject(len(fields))
    for slot, (kind, value) in enumerate(made):
        if kind in ('string', 'events'):
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        elif kind == 'int32':
            builder.PrependInt32Slot(slot, value, 0)
        elif kind == 'int64':
            builder.PrependInt64Slot(slot, value, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=identifier)
    return bytes(builder.Output())


def description4(streams, size):
    nodes = ''.join(
        f'<node name="{number}"><attr key="typeIdentifier" type="string">{kind}</attr>'
        f'<node name="info"><attr key="sizeX" type="int">{size[1]}</attr>'
        f'<attr key="sizeY" type="int">{size[0]}</attr>'
        f'<attr key="source" type="string">camera{number}</attr></node></node>'
        for number, kind in streams
    )
    return f'<dv version="2.0"><node name="outInfo">{nodes}</node></dv>'


def write_aedat4(
    path, events, size=SIZE, method=0, per_packet=100, end=True, streams=((0, 'EVTS'), (1, 'FRME'))
):
    """Write AEDAT 4 with packets of another stream between those of events, and an index."""
    pack = {
        0: bytes,
        1: lambda data: __import__('lz4.frame').frame.compress(data),
        3: lambda data: __import__('zstandard').ZstdCompressor().compress(data),
    }[method]

    def header(place):
        fields = [('int32', method), ('int64', place), ('string', description4(streams, size))]
        return b'#!AER-DAT4.0\r\n' + flatbuffer(b'IOHE', fields)

    body = b''
    for first in range(0, len(events), per_packet):
        part = pack(flatbuffer(b'EVTS', [('events', events[first : first + per_packet])]))
        body += struct.pack('<ii', 0, len(part)) + part
        body += struct.pack('<ii', streams[-1][0], 5) + b'frame'
    # a place of 1 keeps the field in the table, whose length so stays the same
    start = len(header(1))
    head = header(start + len(body)) if end else header(-1)
    path.write_bytes(head + body + (b'index of packets' if end else b''))
    return start


def write_dat(path, events, version=2, size=None):
    x, y, t, p = columns(events)
    head = f'% Data file containing CD events.\n% Version {version}\n'
    if size:
        head += f'% Height {size[0]}\n% Width {size[1]}\n'
    word = x | y << 9 | p << 17 if version < 2 else x | y << 14 | p << 28
    path.write_bytes(head.encode() + b'\x0c\x08' + np.stack([t, word], 1).astype('<u4').tobytes())
    return len(head) + 2


def write_evt2(path, events):
    words, high = [], None
    for x, y, t, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    words.insert(len(words) // 2, 0xA << 28)  # a trigger
    head = b'% evt 2.0\n% geometry 128x120\n% end\n'
    path.write_bytes(head + np.array(words, '<u4').tobytes())
    return len(head)


def write_evt3(path, events, vectors=True):
    """Write EVT 3.0; neighbours of one row, time and polarity become a vector."""
    words, state = [], dict(high=None, low=None, y=None)
    rows = events.tolist()
    index = 0
    while index < len(rows):
        x, y, t, p = rows[index]
        high, low = t >> 12 & 0xFFF, t & 0xFFF
        if high != state['high']:
            words.append(0x8000 | high)
            state.update(high=high, low=0)
        if low != state['low']:
            words.append(0x6000 | low)
            state['low'] = low
        if y != state['y']:
            words.append(y)
            state['y'] = y
        run = index + 1
        while (
            run < len(rows)
            and rows[run][1:] == (y, t, p)
            and rows[run][0] > rows[run - 1][0]
            and rows[run][0] - x < 12
        ):
            run += 1
        if vectors and run - index > 1:
            mask = sum(1 << row[0] - x for row in rows[index:run])
            words.append(0x3000 | p << 11 | x)
            words.append(0x4000 | mask if mask > 255 else 0x5000 | mask)
            index = run
        else:
            words.append(0x2000 | p << 11 | x)
            index += 1
    head = b'% evt 3.0\n% format EVT3;height=120;width=128\n% end\n'
    path.write_bytes(head + np.array(words, '<u2').tobytes())
    return len(head)


def write_hdf5(path, events, layout='prophesee', t_offset=None, **storage):
    import h5py

    with h5py.File(path, 'w') as file:
        if layout == 'prophesee':
            rows = np.empty(len(events), [('x', '<u2'), ('y', '<u2'), ('p', '<i2'), ('t', '<i8')])
            for name in 'xytp':
                rows[name] = events[name]
            file.create_dataset('CD/events', data=rows, **storage)
        elif layout == 'mvsec':
            rows = np.stack([*columns(events)], 1).astype(float)
            rows[:, 2] /= 1e6
            rows[:, 3] = rows[:, 3] * 2 - 1
            file.create_dataset('davis/left/events', data=rows)
        elif layout == 'seconds':
            for name in 'xyp':
                file[f'events/{name}s'] = events[name]
            file['events/ts'] = events['t'] / 1e6
        else:
            for name in 'xytp':
                column = events[name].astype(dict(x='<u2', y='<u2', t='<u4', p='u1')[name])
                file.create_dataset(f'events/{name}', data=column, **storage)
            if t_offset is not None:
                file['t_offset'] = np.int64(t_offset)


def write_npz(path, events, **types):
    arrays = {name: events[name].astype(types.get(name, events.dtype[name])) for name in 'xytp'}
    with open(path, 'wb') as file:
        np.savez(file, **arrays)


def write_npy(path, events):
    with open(path, 'wb') as file:
        np.save(file, events)


def write_mat(path, events):
    from scipy.io import savemat

    x, y, t, p = columns(events)
    savemat(
        str(path), dict(x=x[:, None], y=y[:, None], ts=t[:, None], pol=p[:, None]), appendmat=False
    )


def write_atis_bin(path, events):
    x, y, t, p = columns(events)
    rows = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1)
    path.write_bytes(rows.astype(np.uint8).tobytes())
    return 0


#: format -> (writer, usual ending)
WRITERS = {
    'aedat1': (write_aedat1, '.aedat'),
    'aedat2 dvs128': (
        lambda path, events: write_aedat2(
            path, events, 'ch.unizh.ini.jaer.chip.retina.DVS128', davis=False
        ),
        '.aedat',
    ),
    'aedat2 davis240': (
        lambda path, events: write_aedat2(path, events, 'eu.seebetter.ini.chips.davis.DAVIS240C'),
        '.aedat',
    ),
    'aedat3': (write_aedat3, '.aedat'),
    'aedat4': (write_aedat4, '.aedat4'),
    'atis_bin': (write_atis_bin, '.bin'),
    'dat': (write_dat, '.dat'),
    'dat version 1': (lambda path, events: write_dat(path, events, 1), '.dat'),
    'evt2': (write_evt2, '.raw'),
    'evt3': (write_evt3, '.raw'),
    'hdf5 prophesee': (write_hdf5, '.hdf5'),
    'hdf5 dsec': (lambda path, events: write_hdf5(path, events, 'dsec'), '.h5'),
    'hdf5 mvsec': (lambda path, events: write_hdf5(path, events, 'mvsec'), '.hdf5'),
    'hdf5 seconds': (lambda path, events: write_hdf5(path, events, 'seconds'), '.h5'),
    'npz': (write_npz, '.npz'),
    'npy': (write_npy, '.npy'),
    'mat': (write_mat, '.mat'),
}
