"""A live view in a cell and, closed below it, the static form that a saved notebook keeps."""

from __future__ import annotations

import json
from typing import Any

from chatlab import render
from chatlab.place import Place, in_kernel
from chatlab.results import Bundle, styled

OUTPUT_CAP = 200_000
"""Bytes of a saved output at most: beyond it, a code host does not draw the notebook."""
END_LEN = 10_000
"""Characters that are left of each end of what is larger: they fit whatever they are."""
PLAIN_LEN = 2_000
"""Characters of the form without HTML at most: the HTML beside it has them all, and each goes over the wire."""
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class LiveView:
    """A widget that is drawn while the kernel lives, with its static form closed below it.

    JupyterLab saves where a widget stood, but not the widget: once the kernel has ended it shows an error there, and
    never the HTML beside it in the same output. So the static form has an output of its own.

    A subclass gives :meth:`_static_form`, and calls :meth:`_keep` after each change.
    """

    _stand_in = "A live view stands here while the notebook runs; its last state is saved below."
    """Said in place of the widget where there is none."""
    _places: tuple[Place, ...] = ()

    def _static_form(self) -> Bundle:
        """Return what is kept, such as from :func:`closed`."""
        raise NotImplementedError

    def _keep(self) -> None:
        """Draw the static form again, wherever it stands."""
        if self._places:
            still = self._static_form()
            for place in self._places:
                place.replace(still)

    def _ipython_display_(self) -> None:
        live = widget_data(self)
        if live and in_kernel():
            words = {"text/plain": self._stand_in, "text/html": render.paragraph_html(self._stand_in)}
            Place({**live, **words})
        self._places = (*self._places, Place(self._static_form()))


def widget_data(widget: Any) -> Bundle:
    """Return what a front end needs to draw a widget; nothing when it was closed."""
    if widget.comm is None:
        return {}
    data = widget._repr_mimebundle_()
    found = data[0] if isinstance(data, tuple) else data  # anywidget adds metadata
    return {WIDGET_VIEW: found[WIDGET_VIEW]}


def closed(summary: str, text: str, body: str) -> Bundle:
    """Return a static form that opens on a click; of one that is too large, both ends of its text.

    Args:
        summary: the line that is seen while it is closed.
        text: what a reader without HTML sees, as :func:`plain` gives it.
        body: escaped HTML.
    """
    bundle = {"text/plain": plain(text), "text/html": styled(render.details_html(summary, body))}
    if len(json.dumps(bundle, ensure_ascii=False).encode()) > OUTPUT_CAP:
        summary = f"{summary} (too large to be saved whole: the first and last {END_LEN:,} characters of its text)"
        ends = render.text_html(_ends(text, END_LEN, "…"))
        bundle["text/html"] = styled(render.details_html(summary, ends))
    return bundle


def plain(text: str) -> str:
    """Return a text for readers without HTML; of a long one, both ends."""
    left_out = f"… {len(text) - PLAIN_LEN:,} characters stand in the HTML only …"
    return _ends(text, PLAIN_LEN // 2, left_out)


def _ends(text: str, end_len: int, between: str) -> str:
    return f"{text[:end_len]}\n{between}\n{text[-end_len:]}" if len(text) > 2 * end_len else text
