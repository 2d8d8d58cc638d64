"""An engine that says what it was told to say: for tests, demonstrations and mock responses."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Self

from chatlab.engines.engine import (
    Emitter,
    Engine,
    FinishReason,
    TokenStream,
    check_prompt,
    pick_seed,
    release_left_lock,
)
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import EngineClosed, EngineError
from chatlab.tokenizers.interface import Encoding, Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.load import as_tokenizer

MOCK_RESPONSES: Mapping[str, tuple[str, ...]] = {
    "round": (
        "Hello! How can I help you today?",
        "Sure, let me think about it.",
        "That is a good question.",
        "😀🎉 Bye!",
    ),
    "long": (
        "This is a long answer without a model behind it. "
        + " ".join(f"Sentence {n} says that everything still arrives, in order and once." for n in range(1, 41)),
    ),
}
"""Replies for ``ScriptedEngine.mock``: ``round`` gives the next one each time, ``long`` a long one."""


class CodePointTokenizer(Tokenizer):
    """Text to code points and back: a tokenizer without a vocabulary, for engines without a model.

    >>> CodePointTokenizer().encode("hé"), CodePointTokenizer().decode([104, 233])
    ([104, 233], 'hé')
    """

    name = "code points"
    loader = "chatlab"
    versions: Mapping[str, str] = {}
    special_strs: Mapping[str, int] = {}
    vocab_len = 0x110000

    def encode_spans(self, text: str, *, add_special_tokens: bool = False) -> Encoding:
        """One id a character."""
        refuse_lone_surrogates(text)
        return Encoding(token_ids=list(map(ord, text)), spans=[(i, i + 1) for i in range(len(text))])

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """One character an id."""
        return "".join(map(chr, token_ids))

    def piece(self, token_id: int) -> str:
        """The character."""
        return chr(token_id)


class ScriptedEngine(Engine):
    """Answer every request with fixed ids, with delays and faults on demand.

    >>> with ScriptedEngine("Hi!") as engine:
    ...     [event.token_id for event in engine.submit([1]) if hasattr(event, "token_id")]
    [72, 105, 33]
    """

    def __init__(
        self,
        script: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
        tokenizer: Any = None,
        *,
        delay: float = 0.0,
        first_delay: float = 0.0,
        fail_at: int | None = None,
        error: BaseException | None = None,
        finish_reason: FinishReason = "eos",
        eos_id: int | None = None,
    ) -> None:
        """Write the script.

        Args:
            script: the reply as text or ids, or a list of replies that take turns.
            tokenizer: for text, and for those who read text; left out, ids are code points.
            delay: seconds before each token.
            first_delay: seconds more before the first one.
            fail_at: index of the token in whose place ``error`` is raised; the length of the reply is its end.
            error: what is raised there; an ``EngineError`` when left out.
            finish_reason: how a reply ends that nothing cut short.
            eos_id: said last when the reason is ``eos``; ``None`` says nothing.
        """
        self.tokenizer = CodePointTokenizer() if tokenizer is None else as_tokenizer(tokenizer)
        self.eos_ids = frozenset() if eos_id is None else frozenset([eos_id])
        self.delay, self.first_delay, self.fail_at = delay, first_delay, fail_at
        self.error = error or EngineError(f"the script says to fail at token {fail_at}")
        self.prompts: list[list[int]] = []
        """The prompt ids of every request, in order."""
        self._finish_reason = finish_reason
        several = not isinstance(script, str) and len(script) > 0 and not isinstance(script[0], int)
        replies: Sequence[Any] = script if several else [script]
        self._scripts = cycle([self._ids(reply) + sorted(self.eos_ids) for reply in replies])
        self._lock = threading.Lock()
        self._runs: dict[Emitter, threading.Thread] = {}
        self._closed = False

    @classmethod
    def mock(cls, kind: str = "round", *, delay: float = 0.0) -> Self:
        """ChatStream's mock response: ``round`` or ``long``.

        Raises:
            EngineError: there is no such kind.
        """
        if kind not in MOCK_RESPONSES:
            raise EngineError(f"no mock response is called {kind!r}: there are {sorted(MOCK_RESPONSES)}")
        return cls(MOCK_RESPONSES[kind], delay=delay)

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin to say the next reply; see :meth:`chatlab.engines.engine.Engine.submit`."""
        params = params or SamplingParams()
        vocab_len = self.tokenizer.vocab_len
        token_ids = check_prompt(prompt_ids, vocab_len=vocab_len, context_len=params.context_len)
        cancelled = threading.Event()
        emitter = Emitter(wake=cancelled.set)
        with self._lock:
            if self._closed:
                raise EngineClosed("this ScriptedEngine was closed: build a new one")
            self.prompts.append(token_ids)
            run = (emitter, cancelled, next(self._scripts), params)
            thread = threading.Thread(target=self._say, args=run, name="chatlab-scripted-engine", daemon=True)
            self._runs[emitter] = thread
            thread.start()
        return TokenStream(emitter, prompt_len=len(token_ids), seed=pick_seed(params, seed))

    def after_fork(self) -> None:
        """Forget the replies that are said in the parent."""
        release_left_lock(self._lock)
        runs, self._runs = self._runs, {}
        for emitter in runs:
            emitter.leave_behind()

    @property
    def active_len(self) -> int:
        """How many requests have not ended."""
        with self._lock:
            return len(self._runs)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no request and no thread is left; tell whether that came within ``timeout`` seconds."""
        with self._lock:
            threads = list(self._runs.values())
        for thread in threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in threads)

    def close(self) -> None:
        """Cancel what runs, wait for it, and take no more requests."""
        with self._lock:
            self._closed = True
            runs = list(self._runs)
        for emitter in runs:
            emitter.cancel()
        self.wait_idle()

    def _say(self, emitter: Emitter, cancelled: threading.Event, token_ids: list[int], params: SamplingParams) -> None:
        reason: FinishReason = self._finish_reason
        error = None
        try:
            reason = self._said(emitter, cancelled, token_ids, params)
        except BaseException as raised:
            reason, error = "error", raised
        with self._lock:
            del self._runs[emitter]
        emitter.end(reason, error)

    def _said(
        self, emitter: Emitter, cancelled: threading.Event, token_ids: list[int], params: SamplingParams
    ) -> FinishReason:
        for index, token_id in enumerate(token_ids[: params.max_new_tokens]):
            delay = self.delay if index else self.delay + self.first_delay
            if cancelled.wait(delay) if delay else cancelled.is_set():
                return "cancelled"
            if index == self.fail_at:
                raise self.error
            emitter.token(token_id, *_certain(token_id, params))
            if token_id in params.stop_ids:
                return "stop"
        if self.fail_at is not None and self.fail_at >= len(token_ids):
            raise self.error
        return "length" if len(token_ids) > params.max_new_tokens else self._finish_reason

    def _ids(self, reply: str | Sequence[int]) -> list[int]:
        return self.tokenizer.encode(reply) if isinstance(reply, str) else list(reply)


def _certain(token_id: int, params: SamplingParams) -> tuple[float | None, tuple[tuple[int, float], ...] | None]:
    """A script leaves no doubt: the log probability of what it says is 0."""
    if params.logprobs is None:
        return None, None
    return 0.0, ((token_id, 0.0),) if params.logprobs else ()
