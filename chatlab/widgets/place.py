"""A cell's output that can be drawn again, as when a live view gives its place to its static form."""

from __future__ import annotations

from typing import Any

from chatlab.results import Bundle


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
