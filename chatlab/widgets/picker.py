"""A choice above a view that follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from chatlab.results import Bundle, Result
from chatlab.widgets.live_view import LiveView, closed


class Picker(LiveView, ipywidgets.VBox):  # type: ignore[misc]
    """A dropdown and the static view of what was chosen; a saved notebook keeps the last one.

    Args:
        label: what is chosen.
        options: the choices.
        show: makes the view of a choice.
        first: the view of the first choice, when it is there already.
    """

    _stand_in = "A picker stands here while the notebook runs; what was picked last is saved below."

    def __init__(
        self, label: str, options: Sequence[str], show: Callable[[str], Result], first: Result | None = None
    ) -> None:
        self.view = first or show(options[0])
        """What is shown."""
        self._show = show
        self.choice = ipywidgets.Dropdown(options=list(options), description=label)
        # The value is a view's own HTML, which is escaped; ipywidgets.HTML draws it as it is.
        self._page = ipywidgets.HTML(value=self.view.html())
        self.choice.observe(self._choose, "value")
        super().__init__([self.choice, self._page])

    def _choose(self, change: Any) -> None:
        self.view = self._show(change["new"])
        self._page.value = self.view.html()
        self._keep()

    def _static_form(self) -> Bundle:
        return closed(f"{self.choice.description}: {self.choice.value}", str(self.view), self.view.body())

    def _repr_mimebundle_(self, **kwargs: Any) -> Bundle:
        return {**super()._repr_mimebundle_(**kwargs), **self.view._repr_mimebundle_()}
