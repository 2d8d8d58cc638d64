"""The scripts and styles that stand beside this file and travel in the wheel."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def asset(*names: str) -> str:
    """Return files joined: a view is one ES module, so what several share is put before each.

    >>> asset("log.js", "stream_view.js").rstrip().endswith("export default { render };")
    True
    """
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
