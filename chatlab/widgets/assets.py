"""The scripts and styles that stand in ``scripts/`` beside this file and travel in the wheel."""

from __future__ import annotations

from pathlib import Path

_SCRIPTS = Path(__file__).parent / "scripts"


def asset(*names: str) -> str:
    """Return files joined: a widget is one ES module, so what two widgets share is put before each.

    >>> asset("log.js", "stream_view.js").rstrip().endswith("export default { render };")
    True
    """
    return "\n".join((_SCRIPTS / name).read_text(encoding="utf-8") for name in names)
