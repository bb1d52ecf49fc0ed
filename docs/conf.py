"""What Sphinx is to know: python -m sphinx -W -n --keep-going docs docs/_build/html builds these pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import neyman

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
# notebooks type `neyman ...` as well: the one beside this Python
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

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
    # in the folder extensions/
    "command_examples",
    "document_keys",
    "examples",
    "mathml",
    "signatures",
    "whole_streams",
]
exclude_patterns = ["_build", "inventories", "**.ipynb_checkpoints"]

# pages are Markdown; those with a kernel in their first lines are notebooks, executed at every build
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_output_stderr = "show"  # what commands and trainings say is said there

# the reference: signatures with their types, sections of docstrings in Google's style
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# names of other projects, from texts in the folder inventories/: nothing is fetched
intersphinx_mapping = {
    name: (address, f"inventories/{name}.txt")
    for name, address in {
        "iminuit": "https://scikit-hep.org/iminuit/",
        "matplotlib": "https://matplotlib.org/stable/",
        "numpy": "https://numpy.org/doc/stable/",
        "pyhf": "https://pyhf.readthedocs.io/en/v0.7.6/",
        "python": "https://docs.python.org/3/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }.items()
}
# types that only neyman itself hands over, and modules that a docstring names for readers of the source
_INTERNAL = (
    "Bindings|Channel|ChannelSimulation|ChannelSummary|Constraints|Cutflow|EnsemblePdf|EventSource|LearnedTerm|"
    "LocalPosterior|PosteriorNetwork|PosteriorOptions|Predicts|Rates|Settings|StatisticNetwork|Waldo|WorstOnToys"
)
nitpick_ignore_regex = [
    ("py:class", rf"([\w.]+\.)?({_INTERNAL})"),
    ("py:func", r"batches|neyman\.model\.toys\.draw|neyman\.inputs\.signed\.halves|neyman\.inference\.worst\.across"),
    ("py:mod", r"neyman\.inference\.simulation"),
]

html_theme = "furo"
html_title = f"neyman {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"
