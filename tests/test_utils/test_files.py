"""Files appear whole or not at all, also when the disk is full, and the error names the file."""
import errno
import os

import pytest

from mmbsa.utils.files import atomic_open, remove_drafts


def test_atomic_open_replaces_a_file_at_the_end(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    with atomic_open(path) as file:
        file.write(b'first')
        assert not path.exists()
    with pytest.raises(KeyError), atomic_open(path) as file:
        file.write(b'second')
        raise KeyError
    assert path.read_bytes() == b'first' and os.listdir(path.parent) == ['a.txt']


def test_atomic_open_names_the_file_on_a_full_disk(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_bytes(b'old')
    with pytest.raises(OSError, match=f'No space left on device: .{path}') as caught, atomic_open(path) as file:
        file.write(b'new')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.txt']


def test_remove_drafts_leaves_other_files(tmp_path):
    for name in ('.a.pth.1-ff.tmp', '.hidden', 'b.tmp', 'a.pth'):
        (tmp_path / name).touch()
    assert [path.name for path in remove_drafts(tmp_path)] == ['.a.pth.1-ff.tmp']
    assert sorted(os.listdir(tmp_path)) == ['.hidden', 'a.pth', 'b.tmp']
