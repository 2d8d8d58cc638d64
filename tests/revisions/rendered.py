"""What a reader of a report sees."""

from __future__ import annotations

import io

from rich.console import Console


def rendered(comparison) -> str:
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(comparison)
    return console.file.getvalue()
