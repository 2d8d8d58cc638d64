"""The directive ``root-names``: every name of ``from chatlab import …``, with its first sentence and its page."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import chatlab


class RootNames(SphinxDirective):
    """A table of the public names, sorted."""

    def run(self) -> list[nodes.Node]:
        """Let autosummary write the table from the package's own list."""
        names = "\n".join(f"   ~chatlab.{chatlab._HOME[name]}.{name}" for name in chatlab.__all__)
        text = f"```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{names}\n```\n"
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Put the directive on the builder."""
    app.add_directive("root-names", RootNames)
    return {"parallel_read_safe": True}
