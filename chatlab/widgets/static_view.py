"""What a result looks like without a front end: plain text, escaped HTML that a code host keeps, a page of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chatlab import render

Bundle = dict[str, Any]

STYLE = """
.chatlab ins { background: #0072b233; text-decoration: underline; }
.chatlab del { background: #d55e0033; text-decoration: line-through; }
.chatlab pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 30em; overflow: auto; }
.chatlab td { text-align: left !important; vertical-align: top; white-space: pre-wrap; overflow-wrap: break-word; }
.chatlab td code { border: 1px solid #8888; border-radius: 3px; padding: 0 2px; }
.chatlab th { text-align: left !important; } .chatlab caption { text-align: left; font-weight: bold; }
"""
"""Colour for those who see it; a code host drops it, and the tags still tell."""


class StaticView:
    """Something that shows itself as text and as escaped HTML; a subclass gives ``__str__`` and ``_body``."""

    title = "chatlab"

    def _body(self) -> str:
        """Return escaped HTML without style."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """Return the escaped HTML of a cell's output."""
        return styled(self._body())

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a page that needs nothing else and loads nothing else; an interrupted write leaves the old file."""
        target = Path(path)
        beside = target.with_name(f"{target.name}.tmp")
        beside.write_text(render.page_html(self.title, self._body()), encoding="utf-8")
        return beside.replace(target)


def styled(body: str) -> str:
    """Return escaped HTML for a cell's output, with a style that reaches no further than itself."""
    return f'<style>{STYLE}</style><div class="chatlab">{body}</div>'


def in_kernel() -> bool:
    """Whether this runs in a Jupyter kernel, where a display reaches somebody."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


class Place:
    """A cell output that can be drawn again, from any thread."""

    def __init__(self, bundle: Bundle) -> None:
        """Show it."""
        from IPython.display import display

        self._handle: Any = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def replace(self, bundle: Bundle) -> None:
        """Draw something else in the same place, also in the saved notebook."""
        if self._handle is not None:
            self._handle.update(bundle, raw=True)
