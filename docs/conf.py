"""Build these pages: python -m sphinx -W -n --keep-going docs docs/_build/html."""

from __future__ import annotations

import neyman

project = "neyman"
author = "The neyman developers"
copyright = author
release = neyman.__version__
version = release.split("+")[0]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
suppress_warnings = ["toc.empty_glob"]

# pages are Markdown; those with a kernel in their first lines are notebooks, executed at every build
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_merge_streams = True
nb_output_stderr = "remove"

# the reference: signatures with their types, sections of docstrings in Google's style
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"neyman {version}"
html_copy_source = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"
