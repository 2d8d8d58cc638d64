"""How the documentation is built: offline, from the checkout, with every warning an error (``make docs``)."""

import shutil
import sys
from pathlib import Path
from typing import Any

import chatlab

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "chatlab"
author = "the chatlab authors"
project_copyright = "the chatlab authors, Apache-2.0"
release = version = chatlab.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "command_line",
    "root_names",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks come with the outputs of `make notebooks`, and a test keeps them true
nb_merge_streams = True
nb_ipywidgets_js = {}  # no script from elsewhere: live views show the form that they were saved in
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
# Two rooms may have a Cause or a Side of their own: a bare name in an annotation then links to one of them.
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]

autosummary_generate = True
autosummary_ignore_module_all = True  # a package's modules, also where its __all__ names other things
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "chatlab"
html_static_path = ["_static"]
html_css_files = ["chatlab.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "logo": {"text": "chatlab"},
}


def _notebooks() -> None:
    """The tutorials are the notebooks themselves; Sphinx reads only below its own folder."""
    for notebook in sorted((HERE.parent / "notebooks").glob("0*.ipynb")):
        shutil.copyfile(notebook, HERE / "tutorials" / notebook.name)


def _not_ours(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a base class of another library writes into ours (matplotlib's ``set``)."""
    return True if getattr(obj, "__module__", "chatlab").split(".")[0] == "matplotlib" else None


def setup(app: Any) -> None:
    """Bring the notebooks, begin the API anew, and leave other libraries' members out."""
    _notebooks()
    shutil.rmtree(HERE / "reference" / "api", ignore_errors=True)
    app.connect("autodoc-skip-member", _not_ours)
