"""A text that is drawn while it streams, and can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Literal, get_args

import anywidget
import traitlets

from chatlab.browser.assets import asset
from chatlab.buffering.scanner import Replacements
from chatlab.errors import ChatBusy, ViewError
from chatlab.place import Place, in_kernel
from chatlab.results import Bundle
from chatlab.widgets.arguments import check, check_choice, check_item, check_searched, check_seconds, token_ids
from chatlab.widgets.live_text import LiveText, packed
from chatlab.widgets.live_view import LiveView, closed, plain, widget_data
from chatlab.widgets.playback import Playback, Source
from chatlab.widgets.saved_text import SavedText

if TYPE_CHECKING:
    from chatlab.streaming.result import Delta

Show = Literal["text", "tokens", "buffer"]
FLUSH_S = 0.03
"""Seconds between two messages to the browser: smooth to the eye, and far below the server's rate limit."""
FIRST_FULL_S = 0.25
"""When the first whole text goes out unasked; the next ones at twice the time each."""
IDLE_S = 1.0
_OVER = "this view has shown its text: show the next one in a new StreamView()"


class LiveLog(LiveView, anywidget.AnyWidget):  # type: ignore[misc]
    """Texts that grow in a browser: what :class:`StreamView` and ``ChatPanel`` share.

    Fragments are collected and sent about every 30 ms by a thread, because a message for each token overruns the
    server's limits, and lost messages are the reader's lost text. The reader sees a loss by the offsets and asks;
    while a busy kernel cannot answer, whole texts go out unasked, each after twice the time of the one before.
    """

    show = traitlets.Enum(get_args(Show), "text").tag(sync=True)
    """``text``; ``tokens`` as chips with ids and probabilities; ``buffer``: what is held back and why."""
    label = traitlets.Unicode("Reply").tag(sync=True)
    """What a screen reader calls the text."""

    _css = asset("log.css")

    def __init__(self, *, show: Show = "text", label: str, flush_s: float = FLUSH_S, **traits: Any) -> None:
        check_choice("show", show, Show)
        check("label", label, str, "a text")
        check_seconds("flush_s", flush_s)
        self._texts: dict[int, LiveText] = {}
        self._next_id = 0
        self._sending = threading.RLock()  # messages go out in the order of their offsets
        self._flusher: threading.Thread | None = None
        self._flush_s = flush_s
        self._began = self._next_full = 0.0
        super().__init__(show=show, label=label, **traits)
        _hear_where_the_page_speaks(self.comm)
        self.on_msg(self._on_message)

    def stop(self) -> None:
        """End what is running; the text so far stays."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is pending now."""
        with self._sending:
            for text in self._texts.values():
                message = text.delta(with_steps=self.show != "text")
                if message is not None:
                    self.send(message)

    def _begin(self, text: LiveText) -> None:
        """Show a text, empty or whole."""
        with self._sending:
            self._texts[text.message_id] = text
            self._began, self._next_full = time.monotonic(), FIRST_FULL_S
            self._send_full(text)

    def _new_text(self, role: str, **explain: Any) -> LiveText:
        self._next_id += 1
        return LiveText(self._next_id, role, **explain)

    def _put(self, text: LiveText, new: str | Delta) -> None:
        text.put(new)
        if self._flusher is None:
            self._start_flusher()

    def _end(self, text: LiveText, finish_reason: str, *, error: str = "", seconds: float | None = None) -> None:
        with self._sending:
            text.finish(finish_reason, error=error, seconds=seconds)
            self._send_full(text)

    def _send_full(self, text: LiveText) -> None:
        full = text.full(with_steps=self.show != "text")
        self.send({"kind": "full", "id": text.message_id}, [packed(full)])

    def _send_all(self) -> None:
        with self._sending:
            fulls = [text.full(with_steps=self.show != "text") for text in self._texts.values()]
            self.send({"kind": "all"}, [packed(fulls)])

    def _start_flusher(self) -> None:
        with self._sending:
            if self._flusher is None:
                self._flusher = threading.Thread(target=self._flush_often, name="chatlab-view", daemon=True)
                self._flusher.start()

    def _flush_often(self) -> None:
        last_put = time.monotonic()
        while True:
            time.sleep(self._flush_s)
            now = time.monotonic()
            if self._is_pending():
                last_put = now
                self._send_pending(now - self._began)
            elif now - last_put > IDLE_S:
                self._flusher = None
                if self._is_pending():  # a put that still saw this flusher; one that comes later sees none
                    self._start_flusher()
                return

    def _send_pending(self, age: float) -> None:
        if age < self._next_full:
            self.flush()
            return
        self._next_full = 2 * age
        with self._sending:
            for text in self._texts.values():
                if text.is_pending:
                    self._send_full(text)

    def _is_pending(self) -> bool:
        return any(text.is_pending for text in list(self._texts.values()))

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("kind") == "sync":
            self._send_all()
        elif content.get("kind") == "stop":
            self.stop()


def _hear_where_the_page_speaks(comm: Any) -> None:
    """Take a browser's messages in the subshell that its page chose, else in any, and in the main shell last.

    ipykernel 7.4 hands them to the subshell whose request a comm last sent for. Our threads go on sending for the
    request that started them: when its page is reloaded that subshell ends, and Stop would be dropped without a word.
    Nor is the main shell a good place: a message that it takes just as an awaiting cell ends gives the next cell the
    parent of the last one, and that cell shows ``[*]`` for ever (`ipykernel#646
    <https://github.com/ipython/ipykernel/issues/646>`_ in its new dress).
    """
    if hasattr(comm, "_reply_subshell_for"):

        def route(data: object, chosen: str | None) -> str | None:
            # A page speaks before it has heard the name of the subshell that it asked for.
            thread = getattr(comm.kernel, "shell_channel_thread", None)
            return chosen or next(iter(thread.manager.list_subshell() if thread else ()), None)

        comm._reply_subshell_for = route


class StreamView(LiveLog):
    """One text that is drawn while it streams.

    >>> view = StreamView()
    >>> view.put("Hel"), view.put("lo"), view.finish("eos"), view.text
    (None, None, None, 'Hello')

    In a notebook, ``await StreamView().follow(chatlab.stream(prompt, engine))`` shows the stream with a Stop button,
    and the kernel stays free. A loop of your own puts what it has, and looks at :attr:`stopped`. At the end the live
    view is replaced by its static form, so that the saved notebook tells the story. A view that stays has it below.

    Args:
        show: ``text``, ``tokens`` or ``buffer``; the reader can switch.
        label: what a screen reader calls the text.
        replace: whether the static form takes the place of the live view at the end.
        flush_s: seconds between two messages to the browser.
        replacements: those of your own buffer, so that the view can say what held text waits for; ``follow`` knows
            those of ``chatlab.stream``.
        stops: its stop strings.
        special_ids: ids that it never shows.

    Raises:
        BufferingError: one of ``replacements`` is no pair, or one of ``stops`` no text.
        ViewError: an argument is of another type than its name says.
    """

    _esm = asset("log.js", "stream_view.js")

    def __init__(
        self,
        *,
        show: Show = "text",
        label: str = "Reply",
        replace: bool = True,
        flush_s: float = FLUSH_S,
        replacements: Replacements = (),
        stops: Iterable[str] = (),
        special_ids: Collection[int] = (),
    ) -> None:
        check_searched(replacements, stops)
        special_ids = frozenset(token_ids("special_ids", special_ids))
        super().__init__(show=show, label=label, flush_s=flush_s)
        self._replace = replace
        self._stopped = threading.Event()
        self._on_stop: Callable[[], object] = lambda: None
        self._playback: Playback | None = None
        self._text = self._new_text("assistant", replacements=replacements, stops=stops, special_ids=special_ids)
        self._begin(self._text)

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text.text

    @property
    def finish_reason(self) -> str | None:
        """Why it ended; ``None`` while it may go on."""
        return self._text.finish_reason

    @property
    def stopped(self) -> bool:
        """Whether the reader pressed Stop: a loop of your own should end then."""
        return self._stopped.is_set()

    def put(self, new: str | Delta) -> None:
        """Add a text fragment or a delta of ``chatlab.stream``; it is drawn within about 30 ms.

        Raises:
            ViewError: it is neither, or the view has shown its text.
        """
        check_item(new, "view.put(item.text)")
        if self._text.finish_reason is not None:
            raise ViewError(_OVER)
        self._put(self._text, new)

    def finish(self, finish_reason: str = "eos", *, error: str = "", seconds: float | None = None) -> None:
        """Say why the text ended: ``eos``, ``stop``, ``length``, ``cancelled``, ``error``; later calls do nothing."""
        if self._text.finish_reason is None:
            self._end(self._text, finish_reason, error=error, seconds=seconds)
            self._keep()

    def follow(self, source: Source) -> Playback:
        """Show a whole stream, read in a thread; wait for it with ``await`` or ``.wait()``, or go on meanwhile.

        A view that stands nowhere yet is displayed in the cell. It shows one text: the next one takes a new view.

        Args:
            source: ``chatlab.stream(...)`` or any iterable of text fragments.

        Raises:
            ChatBusy: the view follows a stream already.
            ViewError: ``source`` cannot be read in a thread, or the view has shown its text.
        """
        self._check_free(source)
        request = getattr(source, "request", None)
        if request is not None:
            self._text.explain(
                replacements=request.replacements, stops=request.params.stop, special_ids=request.special_ids
            )
        if not self._places and in_kernel():
            self._ipython_display_()
        self._playback = Playback(source, self)
        return self._playback

    def _check_free(self, source: Source) -> None:
        if self._playback is not None and not self._playback.done:
            raise ChatBusy(
                "this view follows a stream: wait for it, stop it, or follow the other in a new StreamView()"
            )
        if self.finish_reason is not None:
            raise ViewError(_OVER)
        if not hasattr(source, "__iter__"):
            way = "chatlab.stream(…) in place of astream: the kernel stays free" if hasattr(source, "__aiter__") else ""
            raise ViewError(
                f"a {type(source).__name__} cannot be followed: give {way or 'chatlab.stream(…), or text fragments'}"
            )

    def mirror(self, text: LiveText, stop: Callable[[], object]) -> None:
        """Explain what waits as another view's text does, and let Stop reach its owner."""
        self._text.explain_as(text)
        self._on_stop = stop

    def stop(self) -> None:
        """End what is followed; a loop of your own sees :attr:`stopped`."""
        self._stopped.set()
        self._on_stop()
        if self._playback is not None:
            self._playback.stop()

    def saved(self) -> SavedText:
        """Return the static form of what is there now."""
        return SavedText.of(self._text)

    def _ipython_display_(self) -> None:
        if not self._replace:
            super()._ipython_display_()
        elif self.finish_reason is not None:
            Place(self._static_form())
        else:
            self._places = (*self._places, Place({**widget_data(self), **self._static_form()}))

    def _static_form(self) -> Bundle:
        saved = self.saved()
        if self._replace:
            return {**saved._repr_mimebundle_(), "text/plain": plain(str(saved))}
        return closed(f"{self.label}, {saved.why}", str(saved), saved.body())
