"""HTML pages of reports: one file each, in the style of the documentation site."""

import base64
import html
import re
from collections.abc import Iterable, Sequence

from mmbsa.version import __version__

#: fonts, colours and tables as on the documentation site, in light and dark.
STYLE = """
:root { color-scheme: light dark; --text: #222; --back: #fff; --line: #ddd; --box: #f6f6f7;
        --link: #0a4bff }
@media (prefers-color-scheme: dark) {
  :root { --text: #cfd0d0; --back: #131416; --line: #303335; --box: #1a1c1e; --link: #5ca5ff }
  img { background: #fff }
}
body { font: 15px/1.5 -apple-system, BlinkMacSystemFont, "Segoe UI", Helvetica, Arial, sans-serif;
       margin: 2em auto; max-width: 70em; padding: 0 1em; color: var(--text);
       background: var(--back) }
a { color: var(--link) }
.table { overflow-x: auto; margin: 1em 0 }
table { border-collapse: collapse }
td, th { border-bottom: 1px solid var(--line); padding: .25em .7em; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
thead th { background: var(--box) }
tr.best td { font-weight: 600 }
img { max-width: 100%; margin: 1em 0 }
pre, code { background: var(--box) }
pre { padding: .7em; overflow-x: auto }
footer { margin-top: 3em; color: #888 }
"""
_NUMBER = re.compile(r'[-+]?[\d.,]+(\s*(±|%|[kMGT]|mJ|uJ|pJ).*)?|-')


def html_page(title: str, parts: Iterable[str]) -> str:
    """A page that needs no other file.

    Args:
        title: of the page, plain text; also its first heading.
        parts: HTML, in order; empty ones are left out.

    Returns:
        The page as text. It ends with the version of mmbsa.
    """
    title = html.escape(title)
    body = '\n'.join(filter(None, parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><style>{STYLE}</style></head>\n'
        f'<body><h1>{title}</h1>\n{body}\n<footer>mmbsa {__version__}</footer></body></html>\n'
    )


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], best: Iterable[int] = ()
) -> str:
    """A table of plain texts. Cells that hold a number are aligned to the right.

    Args:
        header: titles of the columns.
        rows: texts of the cells, row by row.
        best: indices of the rows to print in bold.
    """
    best = set(best)
    head = ''.join(f'<th>{_inline(text)}</th>' for text in header)
    lines = []
    for index, row in enumerate(rows):
        cells = ''.join(
            f'<td{" class=number" if _NUMBER.fullmatch(text.strip("*")) else ""}>'
            f'{_inline(text)}</td>'
            for text in row
        )
        lines.append(f'<tr{" class=best" if index in best else ""}>{cells}</tr>')
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div>'
    )


def html_image(name: str, content: bytes) -> str:
    """A PNG inside the page.

    Args:
        name: of the picture, for readers that cannot see it.
        content: bytes of the PNG file.
    """
    data = base64.b64encode(content).decode()
    return f'<p><img alt="{html.escape(name)}" src="data:image/png;base64,{data}"></p>'


def html_from_markdown(text: str) -> str:
    """The Markdown of our reports as HTML: headings, lists, tables, paragraphs, bold and code.

    Args:
        text: Markdown. A first heading of level 1 is left out: the page has its title.
    """
    parts = []
    for block in re.split(r'\n\s*\n', text.strip()):
        lines = block.splitlines()
        if match := re.match(r'(#+) (.*)', lines[0]):
            if len(match[1]) > 1:
                parts.append(f'<h{len(match[1])}>{_inline(match[2])}</h{len(match[1])}>')
            lines = lines[1:]
        if not lines:
            continue
        if lines[0].startswith('|'):
            table = [[cell.strip() for cell in line.strip('| ').split(' | ')] for line in lines]
            parts.append(html_table(table[0], table[2:]))
        elif lines[0].startswith('* '):
            items = re.split(r'\n?^\* ', '\n'.join(lines), flags=re.MULTILINE)[1:]
            parts.append('<ul>' + ''.join(f'<li>{_inline(item)}</li>' for item in items) + '</ul>')
        else:
            parts.append(f'<p>{_inline(" ".join(lines))}</p>')
    return '\n'.join(parts)


def _inline(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r'\*\*(.+?)\*\*', r'<b>\1</b>', text)
    return re.sub(r'`(.+?)`', r'<code>\1</code>', text)
