"""The directive ``command-line``: every command of ``chatlab``, told by the program's own help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from chatlab.cli import app as chatlab_app


def _sections(command: Any, path: str, context: Any) -> Iterator[str]:
    """MyST text of one command, and of those below it."""
    if getattr(command, "commands", None):
        for name, child in sorted(command.commands.items()):
            if not child.hidden:
                yield from _sections(child, f"{path} {name}", context)
        return
    own = command.context_class(command, info_name=path, parent=None)
    yield f"\n## `{path}`\n\n{command.help or ''}\n\n```text\n{command.get_usage(own)}\n```\n"
    for parameter in command.params:
        record = parameter.get_help_record(own)
        if record:
            yield f"\n`` {record[0]} ``\n: {record[1] or '&nbsp;'}\n".replace("[", r"\[").replace(r"`` \[", "`` [")


class CommandLine(SphinxDirective):
    """All commands with their options."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Parse what the program says of itself."""
        command = typer.main.get_command(chatlab_app)
        return self.parse_text_to_nodes("".join(_sections(command, "chatlab", None)), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Put the directive on the builder."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
