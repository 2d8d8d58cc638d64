"""A chat beside the code: type, watch, stop, look at tokens; or ask from a cell."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import traitlets

from chatlab.browser.assets import asset
from chatlab.engines.engine import Engine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ChatBusy, RoleOrderError
from chatlab.place import in_kernel
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.content import RoleType
from chatlab.prompts.messages import messages_of
from chatlab.results import Bundle
from chatlab.streaming.channel_formats.message import passages_of, prompt_message
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.streaming.request import build_request, check_tells_ids
from chatlab.streaming.result import StreamResult, deltas_of
from chatlab.streaming.stream import TextStream, stream
from chatlab.widgets.arguments import check, check_searched
from chatlab.widgets.engine_chat import EngineChat
from chatlab.widgets.live_text import LiveText
from chatlab.widgets.live_view import closed
from chatlab.widgets.playback import Playback, Sink
from chatlab.widgets.printer import Printer
from chatlab.widgets.saved_text import SavedText, Transcript
from chatlab.widgets.stream_view import FLUSH_S, LiveLog, Show, StreamView

if TYPE_CHECKING:
    from chatlab.streaming.result import Delta

SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")
"""The sampling controls of the panel, by their names in :class:`SamplingParams`."""
DEFAULTS = {name: getattr(SamplingParams(), name) for name in SETTINGS}
"""What an emptied control means; a seed of ``None`` is drawn anew for each reply."""
REQUEST_OPTIONS = {
    name for name, parameter in signature(build_request).parameters.items() if parameter.kind is Parameter.KEYWORD_ONLY
}
"""What :func:`chatlab.stream` takes besides sampling parameters; no control shows it."""


@dataclass(frozen=True, kw_only=True)
class ChatReply(SavedText):
    """One answered question, ready to be looked at and saved."""

    result: StreamResult
    """What :func:`chatlab.stream` returns, with ids, log probabilities, timings and seed."""


class ChatPanel(LiveLog):
    """A chat with an engine, as a panel and from code; both share one history.

    >>> from chatlab.testing import ScriptedEngine
    >>> from chatlab import ChatPromptMetaLlamaLlama2Chat
    >>> chat = ChatPanel(ScriptedEngine("Hello you!"), ChatPromptMetaLlamaLlama2Chat())
    >>> reply = chat.ask_sync("Hi", view=False)
    >>> reply.text, reply.finish_reason, chat.transcript.to_frame()["role"].tolist()
    ('Hello you!', 'eos', ['user', 'assistant'])

    In a notebook a cell that ends in ``chat`` shows the panel, and ``reply = await chat.ask("…")`` asks from a cell:
    the kernel stays free, Stop and the kernel's interrupt end it, and what came is kept with the reason. The
    generation runs in a thread, and Stop and Clear do not wait for it, so the panel's buttons return at once, also
    while the model is in the midst of a slow step.

    Args:
        engine: what answers.
        prompt: the history to go on from; left out, a new one in the chat template of the engine's model. It is
            copied, so yours does not change; :attr:`prompt` is the current one.
        params: where the sampling controls begin.
        system_prompt: instructions before the first question.
        show: ``text``, ``tokens`` or ``buffer``; the reader can switch. Replies that begin under the last two ask
            the engine for log probabilities.
        flush_s: seconds between two messages to the browser.
        keep_ids: keep the dialogue in ids, so that nothing that was said is encoded again, and an engine that reuses
            prefixes reads only what is new; :attr:`conversation` tells where that could not be.
        options: what else :func:`chatlab.stream` takes, such as ``overflow="drop_turns"``; sampling parameters, such as
            ``temperature=0``, set the controls.

    Raises:
        EngineError: ``keep_ids``, and the engine takes or gives texts.
        SamplingError: an option is unknown or out of its bounds.
        ViewError: ``engine`` is no engine, ``prompt`` no instance of a prompt class, or another argument of another
            type than its name says.
    """

    settings = traitlets.Dict().tag(sync=True)
    """System prompt and sampling controls, as the panel shows them; an emptied control is ``None``, the default."""
    defaults = traitlets.Dict(DEFAULTS, read_only=True).tag(sync=True)
    """What the panel says in an emptied control."""

    _esm = asset("log.js", "ask.js", "chat_panel.js")
    _stand_in = "A chat panel stands here while the notebook runs; the transcript below is saved with it."

    def __init__(
        self,
        engine: Engine,
        prompt: AbstractChatPrompt | None = None,
        params: SamplingParams | None = None,
        *,
        system_prompt: str | None = None,
        show: Show = "text",
        flush_s: float = FLUSH_S,
        keep_ids: bool = False,
        **options: Any,
    ) -> None:
        check("engine", engine, Engine, "an engine, such as LocalEngine(load_model(path), load_tokenizer(path))")
        check("prompt", prompt, AbstractChatPrompt | None, "an object of a prompt class: such a class, called with ()")
        check("params", params, SamplingParams | None, "a SamplingParams, or its fields by name, as in temperature=0")
        check("system_prompt", system_prompt, str | None, "a text")
        check_searched(options.get("replacements", ()))
        self.engine = engine
        self.prompt: AbstractChatPrompt = EngineChat() if prompt is None else prompt.copy()
        """The history so far."""
        self.conversation = _conversation(self.prompt, engine) if keep_ids else None
        """What keeps the ids, with ``keep_ids``."""
        sampling = {name: options.pop(name) for name in set(options) - REQUEST_OPTIONS}
        self._params = SamplingParams.from_dict((params or SamplingParams()).to_dict() | sampling)
        self._options = options
        # Two pages and a cell may ask at the same instant, each in a thread of its own.
        self._asking = threading.RLock()
        self._playback: Playback | None = None
        system = system_prompt if system_prompt is not None else self.prompt.get_system_prompt()
        settings = {"system": system or "", **{name: getattr(self._params, name) for name in SETTINGS}}
        super().__init__(show=show, label="Chat", flush_s=flush_s, settings=settings)
        self._show_history()

    @property
    def running(self) -> bool:
        """Whether a reply is streaming."""
        return self._playback is not None and not self._playback.done

    @property
    def params(self) -> SamplingParams:
        """The sampling parameters as the controls stand.

        Raises:
            SamplingError: a control is out of its bounds.
        """
        given = {name: value for name in SETTINGS if (value := self.settings.get(name)) is not None}
        chosen = DEFAULTS | given
        if self.show != "text" and self._params.logprobs is None:
            chosen["logprobs"] = 0
        return SamplingParams.from_dict(self._params.to_dict() | chosen)

    @property
    def transcript(self) -> Transcript:
        """The dialogue so far, ready to be looked at and saved."""
        return Transcript(messages=tuple(SavedText.of(text) for text in self._texts.values()))

    def ask(self, message: str, *, view: bool = True) -> Playback:
        """Ask, and return at once; ``await`` it, or ``.wait()``, for the :class:`ChatReply`.

        Args:
            message: what to ask.
            view: show the reply in the cell as it streams, too.

        Raises:
            ChatBusy: a reply is streaming.
            ChatlabError: the parameters or the prompt are refused; nothing has changed then.
        """
        with self._asking:
            self._check_free()
            prompt = self._copy_of_prompt()
            prompt.add_requester_msg(message)
            question = self._message("user", message)
            return self._answer(prompt, [question], view=view)

    def ask_sync(self, message: str, *, view: bool = True) -> ChatReply:
        """Ask and wait: for scripts, where the reply is printed as it comes.

        In a notebook a cell that waits so holds the kernel: the interrupt always stops it, the Stop button only where
        the page has a subshell of its own (JupyterLab 4.4 or newer with ipykernel 7). Prefer ``await chat.ask(…)``.
        """
        reply: ChatReply = self.ask(message, view=view).wait()
        return reply

    def regenerate(self, *, view: bool = False) -> Playback:
        """Answer the last question again; the former answer leaves the history.

        Raises:
            ChatBusy: a reply is streaming.
            RoleOrderError: nothing was asked.
        """
        with self._asking:
            self._check_free()
            prompt = self._copy_of_prompt()
            if not prompt.get_history() or prompt.get_history()[-1].role_type is not RoleType.RESPONDER:
                raise RoleOrderError("there is no reply to give again: ask something first")
            prompt.remove_last_message()
            return self._answer(prompt, [], view=view, again=True)

    def clear(self) -> None:
        """Forget the dialogue; the system prompt and the controls stay. A reply under way is stopped first."""
        with self._asking:
            self.stop()
            self.prompt = self.prompt.copy()
            self.prompt.clear_history()
            self._show_history()

    def stop(self) -> None:
        """End the reply under way, at once; the text so far stays in the history, and the next question may come."""
        if self._playback is not None:
            self._playback.stop()

    def _answer(
        self, prompt: AbstractChatPrompt, questions: list[LiveText], *, view: bool, again: bool = False
    ) -> Playback:
        """Stream a reply into the panel, the cell and the history; all that can be refused comes first."""
        asked = prompt.messages() if isinstance(prompt, EngineChat) else prompt
        source = stream(
            asked if self.conversation is None else self.conversation.on(asked),
            self.engine,
            self.params,
            **self._options,
        )
        request = source.request
        reply = self._new_text(
            "assistant",
            replacements=request.replacements,
            stops=request.params.stop,
            special_ids=request.special_ids,
        )
        if again:
            self._texts.popitem()
            self._send_all()
        for text in [*questions, reply]:
            self._begin(text)
        self.prompt = prompt
        if isinstance(prompt, EngineChat):
            prompt.add_responder_msg(None)
        sinks: list[Sink] = [_Turn(self, prompt, reply, source)]
        if view:
            sinks.append(self._cell_view(reply) if in_kernel() else Printer())
        self._playback = Playback(source, *sinks, result=lambda: _reply(reply, source))
        return self._playback

    def _cell_view(self, reply: LiveText) -> StreamView:
        view = StreamView(show=self.show, flush_s=self._flush_s)
        view.mirror(reply, self.stop)
        view._ipython_display_()
        return view

    def _check_free(self) -> None:
        if self.running:
            raise ChatBusy("a reply is streaming: wait for it, as in reply = await chat.ask(…), or stop it first")

    def _copy_of_prompt(self) -> AbstractChatPrompt:
        prompt = self.prompt.copy()
        prompt.set_system_prompt(self.settings.get("system") or None)
        return prompt

    def _message(self, role: str, *said: str | Delta) -> LiveText:
        text = self._new_text(role)
        for part in said:
            text.put(part)
        text.finish("")
        return text

    def _show_history(self) -> None:
        """Draw what the prompt holds; a reply that is still open is not shown."""
        with self._sending:
            self._texts.clear()
            for message in messages_of(self.prompt)[self.prompt.get_system_prompt() is not None :]:
                text = self._message(message["role"], *deltas_of(passages_of(message)))
                self._texts[text.message_id] = text
            self._send_all()
        self._keep()

    def _static_form(self) -> Bundle:
        transcript = self.transcript
        return closed(transcript.summary, str(transcript), transcript.messages_html())

    def _on_message(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        actions = {
            "send": lambda: self.ask(str(content.get("text", "")), view=False),
            "regenerate": self.regenerate,
            "clear": self.clear,
        }
        action = actions.get(content.get("kind", ""))
        if action is None:
            super()._on_message(widget, content, buffers)
            return
        try:
            action()
        except Exception as error:  # a prompt class of the user's may raise anything, and the question must come back
            why = str(error) or type(error).__name__
            self.send({"kind": "refused", "why": why, "text": content.get("text", ""), "view": content.get("view")})


class _Turn:
    """The panel's side of one reply."""

    def __init__(self, panel: ChatPanel, prompt: AbstractChatPrompt, text: LiveText, source: TextStream) -> None:
        self._panel, self._prompt, self._text, self._source = panel, prompt, text, source

    def put(self, new: str | Delta) -> None:
        self._panel._put(self._text, new)

    def finish(self, finish_reason: str, *, error: str = "", seconds: float | None = None) -> None:
        self._panel._end(self._text, finish_reason, error=error, seconds=seconds)
        if isinstance(self._prompt, EngineChat):  # a prompt class is filled by the stream itself
            self._prompt.set_responder_last_msg(self._text.text)
            if self._source.request.channels is not None:
                said = prompt_message(self._source.message(), argument_text=self._prompt.reads_argument_text)
                self._prompt.set_responder_last_message(said)
        self._panel._keep()


def _conversation(prompt: AbstractChatPrompt, engine: Engine) -> Conversation:
    check_tells_ids(engine)
    return Conversation(prompt, engine, on_break="reread")


def _reply(text: LiveText, source: TextStream) -> ChatReply:
    result = source.whole()
    saved = SavedText.of(text)
    return ChatReply(**{name: getattr(saved, name) for name in saved.__dataclass_fields__}, result=result)
