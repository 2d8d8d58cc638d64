"""The ``chatlab`` command: thin shells over the library, with progress, tables and exit codes."""

from __future__ import annotations

import os

# Each module puts its commands on the app; heavy libraries load only inside a command.
from chatlab.cli import audit, chat, doctor, drift, lab, revisions, serve, sweep, trace, turns
from chatlab.cli.parts.shell import app
from chatlab.terminal import harmless_streams

__all__ = ["app", "audit", "chat", "doctor", "drift", "lab", "main", "revisions", "serve", "sweep", "trace", "turns"]


def main() -> None:
    """Run the command line."""
    # transformers and tokenizers print advice about forks and missing models that does not concern a drift table.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with harmless_streams():
        app()
