"""HTML pages of reports."""

from html.parser import HTMLParser

from mmbsa.utils.page import html_from_markdown, html_image, html_page, html_table
from mmbsa.version import __version__


class Reader(HTMLParser):
    """Text by tag; fails where a tag is closed that is not open."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.found = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'img', '!doctype'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.found.append((self.open[-1], data))


def test_page_escapes_and_closes_what_it_opens():
    table = html_table(['a <b>', 'n'], [['x & y', '1.50'], ['z', '-3.2 ± 0.1']], best=[1])
    page = html_page('A <title>', [table, '', html_image('p.png', b'\x89PNG')])
    found = Reader(page).found
    assert ('h1', 'A <title>') in found and ('td', 'x & y') in found
    assert ('footer', f'mmbsa {__version__}') in found
    assert page.count('<td class=number>') == 2 and page.count('<tr class=best>') == 1
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert 'http' not in page  # no other file is needed


def test_markdown_of_reports_becomes_html():
    text = (
        '# Title\n\n* one\n* two `x<y`\nwith a second line\n\n## Part\n\n'
        '| layer | pJ |\n|---|---|\n| q | 1,234 |\n| **total** | **5.0** |\n\nA line\nand more.\n'
    )
    found = Reader(html_page('T', [html_from_markdown(text)])).found
    assert [tag for tag, _ in found if tag in ('h1', 'h2')] == ['h1', 'h2']
    assert ('code', 'x<y') in found and ('b', 'total') in found
    assert ('p', 'A line and more.') in found
    assert html_from_markdown(text).count('<td class=number>') == 2
    assert html_from_markdown(text).count('<li>') == 2
