"""A cell's output that can be drawn again: a count that goes on, a live view that gives its place to its static form."""

from __future__ import annotations

import sys
from typing import Any


def in_kernel() -> bool:
    """Whether this runs in a Jupyter kernel, where a display reaches somebody; IPython is loaded there already."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Place:
    """A cell output that can be drawn again, from any thread."""

    def __init__(self, bundle: dict[str, Any]) -> None:
        """Show it."""
        from IPython.display import display

        self._handle: Any = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def replace(self, bundle: dict[str, Any]) -> None:
        """Draw something else in the same place, also in the saved notebook."""
        if self._handle is not None:
            self._handle.update(bundle, raw=True)
