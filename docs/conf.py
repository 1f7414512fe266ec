"""Sphinx configuration of the site.

pip install -e '.[docs]' && sphinx-build -W -b html docs docs/_build/html
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / '_ext'))

from mmbsa.version import __version__

project = 'mmbsa'
copyright = '2026, the mmbsa authors'
release = version = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'generated_pages',
    'zoo_table',
]
exclude_patterns = ['_build', '_ext']
myst_heading_anchors = 3

autodoc_member_order = 'groupwise'
autodoc_typehints_format = 'short'
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = 'hide'

html_theme = 'furo'
html_title = f'mmbsa {release}'
html_static_path = ['_static']
html_css_files = ['zoo_table.css']
html_js_files = [('zoo_table.js', {'defer': 'defer'})]
html_copy_source = False
