"""A widget's own module in a bare page: the real Python on one side, the real script on the other, no Jupyter between."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

FAKE = """
async ({ source, css, traits }) => {
  const listeners = new Map();
  const on = (name, callback) => listeners.set(name, [...(listeners.get(name) ?? []), callback]);
  const off = (name, callback) => listeners.set(name, (listeners.get(name) ?? []).filter((c) => c !== callback));
  const emit = (name, ...values) => (listeners.get(name) ?? []).forEach((callback) => callback(...values));
  window.model = {
    sent: [], changes: [], traits, on, off,
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; model.changes.push([name, value]); emit("change:" + name); },
    save_changes: () => {},
    send: (content) => model.sent.push(content),
    receive: (content, buffers) => emit("msg:custom", content,
      buffers.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer))),
    listening: () => [...listeners.values()].flat().length,
  };
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  window.widget = (await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })))).default;
  window.views = [];
  window.addView = async () => {
    const el = document.createElement("div");
    document.body.append(el);
    views.push({ el, close: await widget.render({ model, el }) });
  };
  await addView();
}
"""
TRAITS = ("show", "label", "settings", "defaults")


class Bare:
    """A widget and its view, wired to each other; messages may be dropped on the way to the view."""

    def __init__(self, page: Any, widget: Any) -> None:
        self.page = page
        self.widget = widget
        self.drop: Callable[[dict[str, Any]], bool] = lambda content: False
        self._waiting: list[Any] = []
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url))
        widget.send = lambda content, buffers=(): self._waiting.append((content, list(buffers)))
        traits = {name: getattr(widget, name) for name in TRAITS if widget.has_trait(name)}
        page.evaluate(FAKE, {"source": widget._esm, "css": widget._css, "traits": traits})
        self.exchange()

    def _request(self, url: str) -> None:
        if not url.startswith("blob:") and url != "http://localhost/":
            self.problems.append(f"request: {url}")

    def exchange(self) -> None:
        """Carry messages both ways until none is left, or for a few rounds of a stream that goes on."""
        for _ in range(5):
            asked = self.page.evaluate("model.sent.splice(0)")
            for name, value in self.page.evaluate("model.changes.splice(0)"):
                setattr(self.widget, name, value)
            for content in asked:
                self.widget._on_message(self.widget, content, [])
            self.widget.flush()
            waiting, self._waiting = self._waiting, []
            if not asked and not waiting:
                return
            for content, buffers in waiting:
                if not self.drop(content):
                    packed = [b64encode(buffer).decode() for buffer in buffers]
                    self.page.evaluate("([content, buffers]) => model.receive(content, buffers)", [content, packed])
            # Two turns of the event loop and one frame: inflating is asynchronous.
            self.page.evaluate(
                "new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done)), 5))"
            )

    def exchange_deltas(self) -> None:
        """Carry what is new to the view, in one trip and without waiting for it to be drawn."""
        self.widget.flush()
        waiting, self._waiting = self._waiting, []
        self.page.evaluate("(all) => all.forEach((content) => model.receive(content, []))", [c for c, _ in waiting])

    def text(self, view: int = 0, message: int = -1) -> str:
        return self.page.evaluate(
            "([view, message]) => [...views[view].el.querySelectorAll('.cl-text')].at(message)?.textContent ?? ''",
            [view, message],
        )
