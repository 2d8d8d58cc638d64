"""``chatlab audit``: exit 0 where a chat template loses nothing, 1 where it does, 2 where that could not be found out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chatlab.cli.parts.reports import Format, Out, write_report
from chatlab.cli.parts.shell import app, errors
from chatlab.cli.parts.verdict import verdict


@app.command()
def audit(
    source: Annotated[str, typer.Argument(help="a folder, hub id, GGUF file, or a .jinja file")],
    template: Annotated[Path | None, typer.Option(help="a .jinja file instead of the tokenizer's own template")] = None,
    against: Annotated[str | None, typer.Option(help="a patched .jinja file, or another source")] = None,
    format: Format = "rich",
    out: Out = None,
) -> None:
    """Say what a chat template loses of conversations, who is hurt, why, and what to do."""
    with verdict():
        with errors.status("rendering conversations"):
            result = _result(source, template, against)
        write_report(result, format, out)
        raise typer.Exit(result.exit_code)


def _result(source: str, template: Path | None, against: str | None) -> Any:
    from chatlab.turns.audit.reading import template_file

    text = None if template is None else template_file(template)
    if against is not None:
        from chatlab.turns.audit.against import audit_patch

        return audit_patch(source, against, chat_template=text)
    from chatlab.turns.audit.audit import audit_template

    return audit_template(source, chat_template=text)
