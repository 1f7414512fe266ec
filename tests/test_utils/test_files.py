"""Files appear whole or not at all, also when the disk is full, and the error names the file."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from mmbsa.utils.files import atomic_folder, atomic_open, check_output, lock_folder, remove_drafts


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


WRITE = """
import sys, time
from mmbsa.utils.files import atomic_folder, atomic_open
with (atomic_open if sys.argv[1] == 'file' else atomic_folder)(sys.argv[2]) as target:
    if sys.argv[1] == 'file':
        target.write(b'half' * 1000)
        target.flush()
    else:
        (target / 'half').touch()
    print('there', flush=True)
    time.sleep(60)
"""


def write(kind: str, path, content: bytes) -> None:
    if kind == 'file':
        with atomic_open(path) as file:
            file.write(content)
    else:
        with atomic_folder(path) as folder:
            (folder / 'x').write_bytes(content)


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path, kind):
    path = tmp_path / 'a.npz'
    writers = [
        subprocess.Popen([sys.executable, '-c', WRITE, kind, str(path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        assert [writer.stdout.readline() for writer in writers] == [b'there\n'] * 2
        names = ['.a.npz.0.tmp', '.a.npz.1.tmp']
        assert sorted(os.listdir(tmp_path)) == names
        write(kind, path, b'while others write')
        assert sorted(os.listdir(tmp_path)) == [*names, 'a.npz'], 'they are alive'
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    for left in ('.a.npz.1.tmp',), ():
        if kind == 'folder':
            shutil.rmtree(path)
        write(kind, path, b'whole')
        write(kind, tmp_path / 'b.npz', b'another')
        if left == ():  # two at a time need both names again
            with (atomic_open if kind == 'file' else atomic_folder)(path):
                write(kind, path, b'within')
        assert {name for name in os.listdir(tmp_path) if name[0] == '.'} == set(left)


def test_a_folder_that_another_process_made_first_stays(tmp_path):
    with atomic_folder(tmp_path / 'a') as late:
        (late / 'late').touch()
        with atomic_folder(tmp_path / 'a') as first:
            (first / 'first').touch()
    assert os.listdir(tmp_path) == ['a'] and os.listdir(tmp_path / 'a') == ['first']
    with pytest.raises(KeyError), atomic_folder(tmp_path / 'b'):
        raise KeyError
    assert os.listdir(tmp_path) == ['a']


def test_a_link_in_the_place_of_a_draft_is_not_followed(tmp_path):
    (tmp_path / 'precious').write_bytes(b'mine')
    (tmp_path / '.a.0.tmp').symlink_to(tmp_path / 'precious')
    write('file', tmp_path / 'a', b'new')
    assert (tmp_path / 'precious').read_bytes() == b'mine'
    assert (tmp_path / 'a').read_bytes() == b'new'


def test_folders_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=f'{tmp_path}/file'):
        write('file', tmp_path / 'file' / 'a', b'')


def test_outputs_that_are_inputs_are_refused(tmp_path):
    (tmp_path / 'a').touch()
    (tmp_path / 'link').symlink_to(tmp_path / 'a')
    os.link(tmp_path / 'a', tmp_path / 'hard')
    (tmp_path / 'folder').mkdir()
    for out in ('a', 'link', 'hard', 'folder/../a', 'folder'):
        with pytest.raises(ValueError, match=f'--out {tmp_path}/{out} '):
            check_output(tmp_path / out, tmp_path / 'a')
    check_output(tmp_path / 'b', tmp_path / 'a', tmp_path / 'nothing')


RACE = """
import sys
from mmbsa.utils.files import atomic_open
for number in range(400):
    with atomic_open(sys.argv[1]) as file:
        file.write(b'%03d' % number)
"""


def test_processes_that_write_one_file_do_not_meet(tmp_path):
    path = tmp_path / 'a'
    writers = [subprocess.Popen([sys.executable, '-c', RACE, str(path)]) for _ in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    assert path.read_bytes() == b'399' and os.listdir(tmp_path) == ['a']
