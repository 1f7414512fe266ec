"""AEDAT 1 and 2: the meaning of an address comes from the chip or the sensor, or is refused."""

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev
from mmbsa.events.formats.aedat import layout_of

CHIPS = [
    ('eu.seebetter.ini.chips.davis.DAVIS240C', 'davis240', (180, 240)),
    ('eu.seebetter.ini.chips.davis.DAVIS240B', 'davis240', (180, 240)),
    ('eu.seebetter.ini.chips.davis.Davis346blue', 'davis346', (260, 346)),
    ('eu.seebetter.ini.chips.davis.Davis640', 'davis640', (480, 640)),
    ('eu.seebetter.ini.chips.davis.SBRet10', 'davis', None),
    ('ch.unizh.ini.jaer.chip.retina.DVS128', 'dvs128', (128, 128)),
    ('ch.unizh.ini.jaer.chip.retina.Tmpdiff128', 'dvs128', (128, 128)),
]


@pytest.mark.parametrize('chip, layout, size', CHIPS)
def test_the_chip_says_the_layout(tmp_path, chip, layout, size):
    events = write.some_events(size=size or (180, 240))
    write.write_aedat2(tmp_path / 'a.aedat', events, chip, davis=layout != 'dvs128')
    recording = ev.open_recording(tmp_path / 'a.aedat')
    assert (recording.size, recording.details['layout']) == (size, layout)
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat'), events)


def test_the_address_of_a_davis240(tmp_path):
    path = tmp_path / 'a.aedat'
    events = ev.make_events([200], [150], [7], [1])
    for chip, arguments in (
        ('eu.seebetter.ini.chips.davis.DAVIS240C', {}),
        (None, dict(sensor_size=(180, 240))),
        (None, dict(layout='davis240')),
        (None, dict(layout='davis')),
    ):
        write.write_aedat2(path, events, chip)
        assert ev.read_events(path, **arguments).tolist() == [(200, 150, 7, 1)]


@pytest.mark.parametrize(
    'size, layout',
    [
        ((180, 240), 'davis240'),
        ((260, 346), 'davis346'),
        ((480, 640), 'davis640'),
        ((192, 208), 'davis208'),
        ((128, 128), 'dvs128'),
    ],
)
def test_the_sensor_says_the_layout_where_no_chip_does(tmp_path, size, layout):
    events = write.some_events(size=size)
    write.write_aedat2(tmp_path / 'a.aedat', events, davis=layout != 'dvs128')
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat', sensor_size=size), events)


def test_frames_measurements_and_triggers_are_no_events(tmp_path):
    events = write.some_events(size=(180, 240))
    frame, imu = 1 << 31 | 5 << 22 | 7 << 12 | 300, 1 << 31 | 3 << 10 | 12345 << 12
    trigger = 1 << 10
    write.write_aedat2(
        tmp_path / 'a.aedat',
        events,
        'DAVIS240C',
        others=[(0, frame), (5, imu), (9, trigger | 8 << 22), (200, frame)],
    )
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat'), events)
    events = write.some_events(size=(128, 128))
    write.write_aedat2(
        tmp_path / 'b.aedat', events, 'DVS128', davis=False, others=[(3, 0x8000), (50, 1 << 31)]
    )
    assert np.array_equal(ev.read_events(tmp_path / 'b.aedat'), events)


def test_cifar10_dvs_is_asked_for(tmp_path):
    import tiny_data

    columns = tiny_data.random_events(50, (128, 128))
    tiny_data.write_cifar10_dvs(tmp_path / 'a.aedat', columns)
    events = ev.read_events(tmp_path / 'a.aedat', layout='cifar10-dvs')
    assert all(np.array_equal(events[name], columns[name]) for name in 'xytp')
    write.write_aedat2(tmp_path / 'b.aedat', write.some_events(), 'DAVIS240C')
    with pytest.raises(ev.RecordingError, match="b.aedat: .*'cifar10-dvs' is set, but .*DAVIS240C"):
        ev.read_events(tmp_path / 'b.aedat', layout='cifar10-dvs')


@pytest.mark.parametrize(
    'chip, davis, arguments, message',
    [
        (None, True, {}, 'AEDAT 2 whose header names no chip'),
        (None, True, dict(sensor_size=(100, 100)), 'names no chip'),
        (None, True, dict(sensor_size=(128, 128)), "do not fit the layout 'dvs128'"),
        (None, True, dict(layout='cifar10-dvs'), "do not fit the layout 'cifar10-dvs'"),
        ('ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c', True, {}, 'of the chip .*CochleaAMS1c'),
        ('ch.unizh.ini.jaer.chip.stereopsis.StereoDVS128', False, {}, 'of the chip .*StereoDVS128'),
        ('DVS128', False, dict(layout='davis'), "'davis' is set, but .* 'DVS128'"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, chip, davis, arguments, message):
    events = write.some_events(size=(100, 100))
    write.write_aedat2(tmp_path / 'a.aedat', events, chip, davis)
    with pytest.raises(ev.RecordingError, match=f'a.aedat: .*{message}'):
        ev.read_events(tmp_path / 'a.aedat', **arguments)


def test_the_width_of_addresses_is_checked_where_no_chip_is_named(tmp_path):
    late = write.some_events(2000, (1, 16))
    late['y'][1500] = 100
    write.write_aedat2(tmp_path / 'a.aedat', late)
    with pytest.raises(ev.RecordingError, match="a.aedat: .*do not fit the layout 'dvs128'"):
        ev.read_events(tmp_path / 'a.aedat', sensor_size=(128, 128))
    write.write_aedat2(tmp_path / 'b.aedat', write.some_events(size=(128, 128)), davis=False)
    with pytest.raises(ev.RecordingError, match="b.aedat: .*do not fit the layout 'davis346'"):
        ev.read_events(tmp_path / 'b.aedat', sensor_size=(260, 346))


def test_narrow_addresses_are_suspicious_from_a_hundred_on():
    from mmbsa.events.formats.aedat import _check_width

    _check_width('a', np.full(99, 0xFFFF), 'davis346', 0)
    _check_width('a', np.full(100, 0x10000), 'davis346', 0)
    _check_width('a', np.full(100, 0xFFFF), 'dvs128', 0)
    for addresses, layout in ((np.full(100, 0xFFFF), 'davis346'), (np.full(1, 0x10000), 'dvs128')):
        with pytest.raises(ev.RecordingError, match='do not fit the layout'):
            _check_width('a', addresses, layout, 0)


def test_a_layout_that_is_none(tmp_path):
    write.write_aedat2(tmp_path / 'a.aedat', write.some_events())
    with pytest.raises(ValueError, match="layout must be one of .*'cifar10'"):
        ev.read_events(tmp_path / 'a.aedat', layout='cifar10')


def test_aedat1_with_and_without_a_header(tmp_path):
    events = write.some_events()
    for header in (b'', b'#!AER-DAT1.0\r\n', b'# made by jAER\r\n'):
        write.write_aedat1(tmp_path / 'a.aedat', events, header)
        assert np.array_equal(ev.read_events(tmp_path / 'a.aedat'), events)
    with pytest.raises(ev.RecordingError, match='AEDAT 1 has addresses of 16 bits'):
        ev.read_events(tmp_path / 'a.aedat', layout='davis240')


def test_data_that_begin_like_a_header_are_data(tmp_path):
    """0x23 is '#', and the upper byte of the address of a row of a DAVIS."""
    events = ev.make_events([3, 4], [0x23 << 2, 1], [5, 6], [1, 0])
    write.write_aedat2(tmp_path / 'a.aedat', events, 'DAVIS240C')
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat'), events)


def test_times_go_on_where_their_counter_starts_anew(tmp_path):
    t = np.array([2**32 - 3, 2**32 - 1, 0, 2**32 - 1, 4])
    events = ev.make_events([1] * 5, [1] * 5, t, [1] * 5)
    write.write_aedat2(tmp_path / 'a.aedat', events, 'DAVIS240C')
    times = ev.read_events(tmp_path / 'a.aedat', repair='unsorted')['t']
    assert (times - times[0]).tolist() == [0, 2, 2, 3, 7]


@pytest.mark.parametrize(
    'chip, layout',
    [(chip, layout) for chip, layout, _ in CHIPS]
    + [
        ('DVS128-V1 0298', 'dvs128'),
        ('DAVIS FX3 0002-INI', 'davis'),
        ('com.sec.dvs.SecDvs640Gen2', None),
    ],
)
def test_layout_of(chip, layout):
    assert layout_of(chip) == layout


@pytest.mark.shared
def test_a_real_dvs128_recording(shared_path):
    path = shared_path('data/event_file_samples/dvs128_walking.aedat')
    content = path.read_bytes()
    words = np.frombuffer(
        content[content.index(b'#End of Preferences for this AEChip\r\n') + 37 :], '>u4'
    )
    address, t = words.reshape(-1, 2).T
    events = ev.read_events(path)
    expected = dict(x=address >> 1 & 127, y=address >> 8 & 127, t=t, p=address & 1)
    assert all(np.array_equal(events[name], column) for name, column in expected.items())
