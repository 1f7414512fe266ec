"""Sphinx extension: pages that are written at build time and not kept in the repository.

* ``generated/api/<package>.md``: the API reference of every package in ``PACKAGES``, from its
  docstrings.
* ``generated/contributing.md``, ``changelog.md``, ``security.md``: the files of the repository's
  root.
"""

import re
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: packages and modules of the API reference, in the order of its table of contents.
PACKAGES = (
    'mmbsa.ops',
    'mmbsa.spiking',
    'mmbsa.registry',
    'mmbsa.models.attentions',
    'mmbsa.models.backbones',
    'mmbsa.models.neurons',
    'mmbsa.models.encoders',
    'mmbsa.models.layers',
    'mmbsa.models.necks',
    'mmbsa.models.classification',
    'mmbsa.models.segmentation',
    'mmbsa.models.detection',
    'mmbsa.models.tracking',
    'mmbsa.models.points',
    'mmbsa.events',
    'mmbsa.datasets',
    'mmbsa.datasets.transforms',
    'mmbsa.structures',
    'mmbsa.evaluation',
    'mmbsa.energy',
    'mmbsa.engine',
    'mmbsa.visualization',
    'mmbsa.converters',
    'mmbsa.deploy',
    'mmbsa.apis',
    'mmbsa.apis.swap',
    'mmbsa.apis.ablation',
    'mmbsa.apis.tracking',
)
INDEX = """# API reference

Generated from the docstrings. Classes with a `type` in configs are written with the prefix
`mmbsa.`, for example `dict(type='mmbsa.ESpikeFormer')`.

```{toctree}
:maxdepth: 1

%s
```
"""
PAGE = """# {name}

```{{eval-rst}}
.. automodule:: {name}
   :members:{imported}
   :show-inheritance:
   :special-members: __call__
```
"""
#: pages made from files of the root.
COPIES = ('CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md')


def relink(text: str) -> str:
    """Links of a file of the root, as a page in ``docs/generated`` has to write them."""

    def target(match: re.Match) -> str:
        path = match[1]
        if path in COPIES:
            return f']({path.lower()})'
        return (
            f'](../{path.removeprefix("docs/")})'
            if path.startswith('docs/')
            else f'](../../{path})'
        )

    return re.sub(r'\]\((?!https?:|#|mailto:)([^)]+)\)', target, text)


def pages() -> dict[str, str]:
    """Text of every generated page by its path below ``docs/generated``."""
    found = {name.lower(): relink((ROOT / name).read_text(encoding='utf-8')) for name in COPIES}
    found['api/index.md'] = INDEX % '\n'.join(PACKAGES)
    for name in PACKAGES:
        # without __all__, names that a module imports are not its own
        listed = hasattr(import_module(name), '__all__')
        imported = '\n   :imported-members:' if listed else ''
        found[f'api/{name}.md'] = PAGE.format(name=name, imported=imported)
    return found


def write_pages(app) -> None:
    """Write the pages whose text has changed."""
    for name, text in pages().items():
        path = Path(app.srcdir) / 'generated' / name
        if not path.is_file() or path.read_text(encoding='utf-8') != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')


def link_to_copies(app, docname: str, source: list[str]) -> None:
    """Links to a file of the root become links to its page."""
    for name in COPIES:
        source[0] = re.sub(
            rf'\]\((?:\.\./)+{re.escape(name)}', f'](/generated/{name.lower()}', source[0]
        )


#: literals, roles, bold and emphasised words: what stays as it is.
MARKUP = re.compile(r'(``.+?``|:\w+:`.+?`|\*\*.+?\*\*|(?<!\w)\*\w[^*]*\*(?!\w)|^\s*\* )')


def escape_plain_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Shapes such as (T, *) and absolute values |x| of docstrings are plain text: stars and bars
    outside of markup, literal blocks and formulas are escaped."""
    block = None  # indentation of the line that began a literal block or a formula
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and (line.endswith('::') or line.lstrip().startswith('.. ')):
            block = indent
        elif block is None:
            parts = MARKUP.split(line)
            parts[::2] = [re.sub(r'(?<!\\)([*|])', r'\\\1', part) for part in parts[::2]]
            lines[i] = ''.join(parts)


def setup(app) -> dict:
    """Register the extension."""
    app.connect('autodoc-process-docstring', escape_plain_text, priority=400)  # before napoleon
    app.connect('builder-inited', write_pages)
    app.connect('source-read', link_to_copies)
    return dict(parallel_read_safe=True)
