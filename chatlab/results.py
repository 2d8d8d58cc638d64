"""What every result can do without a front end: say itself, show itself, become a table, a picture, a page."""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

Bundle = dict[str, Any]

STYLE = """
.chatlab ins { background: #0072b233; text-decoration: underline; }
.chatlab del { background: #d55e0033; text-decoration: line-through; }
.chatlab img { max-width: 100%; height: auto; } .chatlab figure { margin: 0 0 1em; }
.chatlab pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 30em; overflow: auto; }
.chatlab td { text-align: left !important; vertical-align: top; white-space: pre-wrap; overflow-wrap: break-word; }
.chatlab td code { border: 1px solid #8888; border-radius: 3px; padding: 0 2px; }
.chatlab th { text-align: left !important; } .chatlab caption { text-align: left; font-weight: bold; }
"""
"""Colour for those who see it; a code host drops it, and the tags still tell."""


class Result:
    """A value that shows itself as text and as escaped HTML, as a DataFrame, a figure and a page of its own.

    A subclass gives ``__str__``, :meth:`body`, :meth:`to_frame` and :meth:`figure`; a cell that ends in it, a list that
    holds it and a code host that shows the saved notebook then need nothing else.
    """

    title = "chatlab"
    """Of the saved page."""
    style = ""
    """What its own elements need beside the style that all results share."""

    def __init_subclass__(cls) -> None:
        """Let IPython find the way to print it, and let what is printed steer no terminal.

        A dataclass has a repr of its own, which would come first; and ``print`` asks ``__str__``.
        """
        super().__init_subclass__()
        cls._repr_pretty_ = Result._repr_pretty_  # type: ignore[method-assign]
        if (told := vars(cls).get("__str__")) is not None:
            cls.__str__ = wraps(told)(lambda self: render.readable(told(self)))  # type: ignore[method-assign]

    def body(self) -> str:
        """Return escaped HTML of semantic tags alone: it reads the same where all style is taken away."""
        raise NotImplementedError

    def to_frame(self) -> pd.DataFrame:
        """Return the table behind it."""
        raise NotImplementedError

    def figure(self) -> Drawing:
        """Draw it; characters beyond ASCII are escaped, since a plot font may lack them."""
        raise NotImplementedError

    def html(self) -> str:
        """Return the escaped HTML of a cell's output."""
        return styled(self.body(), self.style)

    def page(self) -> str:
        """Return a page that needs nothing else and may load nothing else."""
        return render.page_html(self.title, self.body(), self.style)

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`page` to a file; an interrupted write leaves the old file.

        Raises:
            OutputError: it cannot be written there.
        """
        target = Path(path)
        write_whole(target, self.page())
        return target

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        return {"text/plain": str(self), "text/html": self.html()}

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def styled(body: str, style: str = "") -> str:
    """Return escaped HTML for a cell's output, with a style that reaches no further than itself."""
    return f'<style>{STYLE}{style}</style><div class="chatlab">{body}</div>'
