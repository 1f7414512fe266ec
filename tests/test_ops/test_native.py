"""C++ kernels.

compiled once, whole or not at all, and never a reason to fail where there is no compiler.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmbsa.ops import implementations, native
from mmbsa.ops.lif import native as lif_native

needs_compiler = pytest.mark.skipif(
    lif_native.missing() is not None, reason=str(lif_native.missing())
)
SOURCE = """#include "native.hpp"
MMBSA_EXPORT int64_t twice(const float *x, double factor, int64_t n, float *out, int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < n; i++)
        out[i] = 2 * float(factor) * x[i];
    return n == 13;
}
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv(native.ENV, str(tmp_path / 'cache'))
    path = tmp_path / 'toy' / 'native.cpp'
    path.parent.mkdir()
    path.write_text(SOURCE)
    return path


def run(code, **environment):
    """Output of a process of its own, which has loaded nothing yet."""
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_compiler
def test_compiles_once_and_again_when_the_source_changes(source):
    x, out = torch.arange(5.0), torch.empty(5)
    library = native.Library(source)
    library.call('twice', x, 1.5, 5, out)
    assert torch.equal(out, 3 * x)
    kept = sorted(native.cache().iterdir())
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    native.Library(source).call('twice', x, 1.5, 5, out)
    assert kept[0].stat().st_mtime_ns == before
    source.write_text(SOURCE.replace('2 *', '3 *'))
    native.Library(source).call('twice', x, 1.5, 5, out)
    assert torch.equal(out, 4.5 * x) and len(list(native.cache().iterdir())) == 2


@needs_compiler
def test_a_kernel_that_fails_says_so(source):
    with pytest.raises(RuntimeError, match='toy: twice ran out of memory'):
        native.Library(source).call('twice', torch.ones(13), 1.0, 13, torch.empty(13))


@needs_compiler
def test_a_source_that_does_not_compile_is_a_reason_and_leaves_nothing(source):
    source.write_text('this is no C++')
    library = native.Library(source)
    assert 'failed: ' in library.missing()
    with pytest.raises(RuntimeError, match='toy: .* failed: '):
        library.call('twice')
    assert not list(native.cache().iterdir())


@needs_compiler
def test_a_cache_that_cannot_be_written_is_no_obstacle(source, monkeypatch):
    blocked = source.parent / 'file'
    blocked.write_text('')
    monkeypatch.setenv(native.ENV, str(blocked / 'below'))
    out = torch.empty(2)
    native.Library(source).call('twice', torch.ones(2), 1.0, 2, out)
    assert out.tolist() == [2.0, 2.0]


@needs_compiler
def test_processes_that_compile_at_the_same_time_do_not_meet(source):
    code = (
        'import sys, torch; from pathlib import Path; from mmbsa.ops.native import Library; '
        'out = torch.empty(3); '
        'Library(Path(sys.argv[1])).call("twice", torch.ones(3), 1., 3, out); '
        'print(out.tolist())'
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, '-c', code, str(source)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert [job.communicate()[0].strip() for job in jobs] == ['[2.0, 2.0, 2.0]'] * 3
    assert len(list(native.cache().iterdir())) == 1


@needs_compiler
def test_one_pool_of_threads():
    """A second OpenMP would fight with torch's for the cores."""
    if not Path('/proc/self/maps').exists():
        pytest.skip('reads /proc/self/maps')
    code = (
        'import torch; from mmbsa.ops import lif; torch.ones(9).sum(); lif(torch.ones(2, 9), '
        'impl="native"); '
        'print(len({l.split()[-1] for l in open("/proc/self/maps") if "gomp" in l or "libomp" '
        'in l}))'
    )
    assert run(code) == '1'


def test_without_a_compiler_the_others_run():
    code = (
        'import torch; from mmbsa.ops import implementations, lif; '
        'print(implementations("lif"), '
        'lif(torch.full((1, 2), 3.)).tolist())\n'
        'try: lif(torch.ones(1, 2), impl="native")\nexcept RuntimeError as e: print(e)'
    )
    out = run(code, CXX='no-such-compiler')
    assert "['reference'] [[1.0, 1.0]]" in out
    assert (
        "impl='native' does not support this call: there is no C++ compiler (searched "
        'no-such-compiler)' in out
    )


@needs_compiler
def test_preferred_where_there_is_one():
    assert 'native' in implementations('lif')[:2]
