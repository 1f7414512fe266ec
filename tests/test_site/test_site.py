"""The site: it builds without a warning, no link is broken, and in a browser search and table
work."""

import fcntl
import functools
import html.parser
import http.server
import os
import shutil
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

for package in ('sphinx', 'myst_parser', 'furo', 'matplotlib', 'mmseg', 'mmdet', 'mmpretrain'):
    pytest.importorskip(package, reason=f"pip install -e '.[docs]': {package} is not installed")

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The built site; processes of one test run share it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
    out, log = base / 'site', base / 'site.log'
    with (base / 'site.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / 'index.html').is_file():
            command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-b', 'html']
            command += ['-d', str(base / 'doctrees'), str(ROOT / 'docs'), str(out)]
            env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            log.write_text(done.stdout + done.stderr)
            if done.returncode:
                shutil.rmtree(out, ignore_errors=True)
                pytest.fail(log.read_text()[-5000:])
    return out


class Page(html.parser.HTMLParser):
    """Targets of links and pictures, and ids, of one page."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ('href', 'src') and value is not None:
                self.targets.append(value)
            elif name in ('id', 'name') and value:
                self.ids.add(value)


def broken_links(site):
    """Local links that lead nowhere, as (page, target)."""
    pages = {path: Page(path.read_text()) for path in site.rglob('*.html')}
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc or target in ('', '#'):
                continue
            file = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            anchor = urllib.parse.unquote(url.fragment)
            ids = pages[file].ids if file in pages else {anchor}
            if not file.is_file() or (anchor and anchor not in ids):
                broken.append((path.name, target))
    return broken, pages


def test_no_link_is_broken(site):
    broken, pages = broken_links(site)
    assert not broken and len(pages) > 40


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / 'a.html').write_text('<p id="x"></p><a href="a.html#x">1</a><a href="#y">2</a>')
    (tmp_path / 'b.html').write_text('<a href="a.html#z">3</a><img src="c.png">')
    assert sorted(broken_links(tmp_path)[0]) == [
        ('a.html', '#y'),
        ('b.html', 'a.html#z'),
        ('b.html', 'c.png'),
    ]


def test_every_public_name_is_in_the_reference(site):
    import mmbsa.models.backbones
    import mmbsa.ops

    for package in (mmbsa.ops, mmbsa.models.backbones):
        ids = Page((site / 'generated' / 'api' / f'{package.__name__}.html').read_text()).ids
        names = {f'{package.__name__}.{name}' for name in package.__all__}
        assert names <= ids, names - ids


@pytest.fixture(scope='module')
def browser():
    """A headless browser that is installed on this machine."""
    sync_api = pytest.importorskip('playwright.sync_api')
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).is_file():
            pytest.skip(f'no browser is installed: looked for {", ".join(BROWSERS)}')
        browser = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def address(site):
    """The site on a local server: browsers forbid pages from files to read other files."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *args):
        pass


@pytest.fixture
def page(browser):
    """A page that notes errors of scripts, and requests that fail or leave this machine."""
    page = browser.new_page(viewport=dict(width=1440, height=900))
    page.problems = []
    page.on('pageerror', lambda error: page.problems.append(str(error)))
    page.on('requestfailed', lambda request: page.problems.append(request.url))

    def note(response):
        local = response.url.startswith(('http://127.0.0.1', 'file:', 'data:'))
        if response.status >= 400 or not local:
            page.problems.append(f'{response.status} {response.url}')

    page.on('response', note)
    yield page
    page.close()


def test_pages_load_in_a_browser(page, site, address):
    for path in sorted(site.glob('*.html')) + sorted(site.glob('tutorials/*.html')):
        page.goto(f'{address}/{path.relative_to(site)}')
        if path.name not in ('genindex.html', 'py-modindex.html', 'search.html'):
            assert page.locator('h1').first.is_visible(), path
        broken = page.evaluate(
            '[...document.images].filter((i) => i.complete && !i.naturalWidth).map((i) => i.src)'
        )
        assert not broken and not page.problems, (path, broken, page.problems)


def test_search_finds_a_page(page, address):
    page.goto(f'{address}/index.html')
    page.locator('input[name=q]').first.fill('Shiftmax')
    page.keyboard.press('Enter')
    page.wait_for_selector('#search-results ul.search li a', timeout=30_000)
    titles = page.locator('#search-results ul.search li a').all_inner_texts()
    assert any('mmbsa.ops' in title or 'Bipolar' in title for title in titles), titles
    assert not page.problems


def column(page, name):
    """Texts of a column of the visible rows."""
    return page.evaluate(
        """(name) => {
            const table = document.querySelector('.zoo table');
            const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
            return [...table.tBodies[0].rows].filter((row) => !row.hidden)
                .map((row) => row.cells[heads.indexOf(name)].textContent);
        }""",
        name,
    )


@pytest.mark.parametrize('scheme', ['http', 'file'])
def test_the_table_sorts_and_searches(page, site, address, scheme):
    page.goto(f'{address if scheme == "http" else site.as_uri()}/find_a_model.html')
    total = len(column(page, 'model'))
    assert total > 200
    button = page.locator('.zoo th button', has_text='parameters')
    for down in (False, True):
        button.click()
        values = [float(text) for text in column(page, 'parameters (M)')]
        assert values == sorted(values, reverse=down) and len(set(values)) > 20
    page.locator('.zoo th button', has_text='score').click()
    scores = column(page, 'score')
    known = [float(text) for text in scores if text]
    assert known == sorted(known) and not any(scores[len(known) :]) and len(known) < total
    page.get_by_label('Search the table of models').fill('bsa ade20k')
    found = column(page, 'model')
    assert 0 < len(found) < total and all('bsa' in name for name in found)
    assert f'{len(found)} of {total} rows' in page.locator('.zoo-tools').inner_text()
    page.get_by_label('Search the table of models').fill('')
    page.get_by_label('task').select_option('tracking')
    assert set(column(page, 'task')) == {'tracking'}
    assert not page.problems
