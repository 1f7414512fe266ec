"""Every block of every tutorial runs, and prints what the page shows."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import run_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for path in (ROOT / 'docs' / 'tutorials').glob('*.md') if path.name != 'index.md'
)
#: what a page needs beyond mmseg.
NEEDS = dict(track_an_object='mmpretrain', convert_weights='mmpretrain')


def test_tutorials_run(tmp_path):
    pytest.importorskip('mmseg')
    pages = [page for page in PAGES if importlib.util.find_spec(NEEDS.get(page.stem, 'mmseg'))]
    for page in pages:
        (tmp_path / page.stem).mkdir()
        for name in ('configs', 'tools', 'tests'):
            (tmp_path / page.stem / name).symlink_to(ROOT / name)
    env = {k: v for k, v in os.environ.items() if k != 'PYTEST_XDIST_WORKER'}
    paths = [str(ROOT), str(ROOT / 'tests'), env.get('PYTHONPATH', '')]
    env.update(PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    done = subprocess.run(
        [sys.executable, run_page.__file__, str(tmp_path), *map(str, pages)],
        env=env,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    counts = dict(re.findall(r'^(\w+): (\d+) blocks ran$', done.stdout, re.M))
    failed = [page.stem for page in pages if page.stem not in counts]
    assert not failed and done.returncode == 0, f'{failed}\n{done.stderr[-6000:]}'
    assert all(int(count) >= 3 for count in counts.values()), counts


def test_every_tutorial_is_in_the_index():
    index = (ROOT / 'docs' / 'tutorials' / 'index.md').read_text()
    listed = index.split('```{toctree}')[1].split('```')[0].split()
    assert sorted(listed[2:]) == [path.stem for path in PAGES]


def test_a_page_that_is_wrong_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / 'page.md'
    good = '```python\nprint("a", 1 + 1, "b")\n```\n\n```text\na ... b\n```\n'
    page.write_text(good)
    assert run_page.run(page) == 1
    page.write_text(good.replace('a ... b', 'a 3 b'))
    with pytest.raises(SystemExit, match='a 3 b'):
        run_page.run(page)
    page.write_text('```bash\nrm -rf x\n```\n')
    with pytest.raises(SystemExit, match='only commands'):
        run_page.run(page)
    (tmp_path / 'tool.py').write_text('import sys\nsys.exit("no " + sys.argv[2])\n')
    page.write_text('```bash\npython tool.py one \\\n    two\n```\n')
    with pytest.raises(SystemExit, match='ended with 1'):
        run_page.run(page)
