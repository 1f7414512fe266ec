"""Files appear whole or not at all, also when the disk is full, and the error names the file."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from mmbsa.utils.files import atomic_open, lock_folder, remove_drafts


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
    with (
        pytest.raises(OSError, match=f'No space left on device: .{path}') as caught,
        atomic_open(path) as file,
    ):
        file.write(b'new')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.txt']


def test_remove_drafts_leaves_other_files(tmp_path):
    for name in ('.a.pth.1-ff.tmp', '.hidden', 'b.tmp', 'a.pth'):
        (tmp_path / name).touch()
    assert [path.name for path in remove_drafts(tmp_path)] == ['.a.pth.1-ff.tmp']
    assert sorted(os.listdir(tmp_path)) == ['.hidden', 'a.pth', 'b.tmp']


HOLD = """
import os, sys, time
from mmbsa.utils.files import lock_folder
held = lock_folder(sys.argv[1])
if os.fork() == 0:  # a worker that outlives its parent
    time.sleep(30)
print('held', flush=True)
time.sleep(60)
"""


def test_lock_folder_is_held_by_one_process_until_it_is_killed(tmp_path):
    first = lock_folder(tmp_path)
    first.close()
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == b'held\n'
        with pytest.raises(
            RuntimeError, match=rf'{tmp_path} is in use by another run \(process {holder.pid} on '
        ):
            lock_folder(tmp_path)
        holder.kill()
        holder.wait()
        assert lock_folder(tmp_path) is not None  # the worker is still there, and does not matter
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
