"""The machine that takes the chunks of one streamed reply and gives events; no I/O."""

from __future__ import annotations

from typing import Any

from chatlab.engines.dialects.asked import Asked, agree
from chatlab.engines.dialects.chunks import Chunk, read_chunk
from chatlab.engines.dialects.ends import end_of, is_end
from chatlab.engines.dialects.halves import Halves
from chatlab.engines.dialects.logprobs import Scores
from chatlab.engines.engine import Emitter, FinishReason
from chatlab.errors import RemoteCut, RemoteError


class CompletionReader:
    """Take the chunks of a streamed completion and give an emitter what they say.

    Law: either everything the server said arrives and :attr:`finish_reason` is set, or ``put`` or ``flush`` raises.
    It reads every shape that :mod:`chatlab.engines.dialects.chunks` knows, whatever the server was taken for.
    """

    def __init__(self, emitter: Emitter, *, ids_out: bool, asked: Asked | None = None) -> None:
        """Expect ids in every chunk, or text only; hold the reply against what was ``asked``."""
        self.begun = False
        """Whether any chunk has come, so that asking again would repeat it."""
        self.done = False
        """Whether the server has said that nothing follows."""
        self.taken = 0
        self.text = ""
        """All text so far."""
        self.token_ids: list[int] = []
        self.prompt_ids: tuple[int, ...] | None = None
        """The prompt as the server read it, where it tells."""
        self.prompt_len: int | None = None
        """Tokens of the prompt by the server's own count, where it tells."""
        self.cached_len: int | None = None
        """Tokens of the prompt that the server had cached, where it tells."""
        self.settings: dict[str, Any] = {}
        """The sampling that the server says is in force, where it tells."""
        self.saw_ids = self.saw_logprobs = False
        self._emitter = emitter
        self._ids_out = ids_out
        self._asked = asked or Asked()
        self._halves = Halves()
        self._text = ""  # the server's own, with halves
        self._ends = 0
        self._word: str | None = None
        self._finish_reason: FinishReason | None = None
        self._count_at = 0

    @property
    def finish_reason(self) -> FinishReason:
        """Why the reply ended, after ``flush``."""
        return self._finish_reason or "error"

    @property
    def ended(self) -> bool:
        """Whether the server has said why the reply ended."""
        return self._finish_reason is not None

    def put(self, data: str) -> None:
        """Take the data of one event.

        Raises:
            RemoteError: it is an error of the server's, no completion chunk, contradicts what came before, or is more
                than was asked for.
            ContextLengthError: the server says that the prompt is too long for it.
        """
        if data.strip() == "[DONE]":
            self.done = True
        elif data.strip():
            chunk = read_chunk(data)
            self.begun = True
            self._take(chunk)

    def flush(self) -> None:
        """Say that the stream has ended.

        Raises:
            RemoteCut: it ended without saying why.
            RemoteError: its text and its ids contradict each other.
        """
        # Koboldcpp before 1.50 calls every piece the last one; then only [DONE] is the end.
        if self._finish_reason is None or (self._ends > 1 and not self.done):
            raise RemoteCut(
                f"the stream ended after {self.taken} pieces without a finish_reason: the reply is not whole"
            )
        self._halves.flush()
        asked = self._asked
        if not (self._ids_out and self.text and asked.tokenizer is not None):
            return
        if not agree(self.text, self.token_ids, asked):
            raise RemoteError(
                f"the server's text and its token ids are two different replies: the text is {self.text!r:.200}, the "
                f"ids say {asked.tokenizer.decode(self.token_ids, skip_special_tokens=False)!r:.200}"
            )

    def _take(self, chunk: Chunk) -> None:
        text, token_ids = self._new_text(chunk), self._new_ids(chunk)
        if (text or token_ids) and self._finish_reason is not None:
            self._go_on(chunk)
        self.saw_ids |= bool(token_ids)
        self.saw_logprobs |= any(own is not None for own, _ in chunk.scores)
        self._emit(text, token_ids, chunk.scores, at_end=is_end(chunk.end))
        if is_end(chunk.end):
            self._end(chunk)
        self._learn(chunk)

    def _new_text(self, chunk: Chunk) -> str:
        """What a chunk adds, where it repeats all the text so far, too."""
        if not chunk.whole:
            new = chunk.text
        elif chunk.text.startswith(self._text):
            new = chunk.text[len(self._text) :]
        else:
            raise RemoteError(f"the server rewrote its reply: first {self._text!r:.200}, then {chunk.text!r:.200}")
        self._text += new
        return self._halves.put(new)

    def _new_ids(self, chunk: Chunk) -> tuple[int, ...]:
        token_ids = chunk.token_ids or ()
        if not chunk.whole or chunk.token_ids is None:
            return token_ids
        known = len(self.token_ids)
        if list(token_ids[:known]) != self.token_ids:
            raise RemoteError(f"the server rewrote its ids: first {self.token_ids}, then {list(token_ids)}")
        return token_ids[known:]

    def _go_on(self, chunk: Chunk) -> None:
        """Text after the end: allowed only where every piece so far was called the last one."""
        if self._ends < self.taken or chunk.end is None:
            raise RemoteError("the server went on after it had said that the reply ended")

    def _emit(self, text: str, token_ids: tuple[int, ...], scores: Scores, *, at_end: bool) -> None:
        self.text += text
        self.token_ids += token_ids
        if self._ids_out:
            # With the end comes what was held: the rest of a character or of a stop, of ids that came before.
            if text and not token_ids and not at_end:
                raise RemoteError(
                    f"a piece of the reply came without its token ids, which this server gave at connect: {text!r:.200}"
                )
            for at, token_id in enumerate(token_ids):
                self.taken += 1
                self._check_len()
                self._emitter.token(token_id, *(scores[at] if at < len(scores) else (None, None)))
        elif text:
            self.taken += 1
            self._check_len()
            self._emitter.text(text)

    def _check_len(self) -> None:
        """Cut a reply that is longer than it was asked to be."""
        most = self._asked.max_new_tokens
        if most is None:
            return
        if self._ids_out:
            more = self.taken > most
        else:
            more = self.taken >= self._count_at and self._asked.too_much(self.text, self.taken)
            if self.taken > most + 1:
                self._count_at = 2 * self.taken
        if more:
            raise RemoteError(f"the server gives more than the {most} tokens it was asked for: the reply was cut there")

    def _end(self, chunk: Chunk) -> None:
        reason = end_of(chunk.end or "")
        if self._finish_reason is not None and chunk.end != self._word:
            raise RemoteError(f"the server ended the reply twice: with {self._word!r}, then with {chunk.end!r}")
        self._ends += bool(self._finish_reason is None or chunk.text)
        self._word = chunk.end
        self._finish_reason = self._at_stop(chunk, reason)

    def _at_stop(self, chunk: Chunk, reason: FinishReason) -> FinishReason:
        """``stop`` where one of the stops asked for ended the reply, which most servers call as they call an end token."""
        if reason != "eos":
            return reason
        asked = self._asked
        if self.token_ids and self._ids_out:
            return "stop" if self.token_ids[-1] in asked.stop_ids else "eos"
        if chunk.matched is not None:
            return "stop" if chunk.matched in asked.stop_ids or chunk.matched in asked.stops else "eos"
        return "stop" if asked.stops and not chunk.tells_match else "eos"

    def _learn(self, chunk: Chunk) -> None:
        """Keep what the server says of the prompt; its count of the reply tells a lost or a doubled chunk."""
        self.prompt_ids = self.prompt_ids if chunk.prompt_ids is None else chunk.prompt_ids
        self.prompt_len = self.prompt_len if chunk.prompt_len is None else chunk.prompt_len
        self.cached_len = self.cached_len if chunk.cached_len is None else chunk.cached_len
        self.settings = chunk.settings or self.settings
        if chunk.reply_len is None or self._finish_reason is None:
            return
        if self._ids_out and chunk.reply_len != self.taken:
            raise RemoteError(f"the server counts {chunk.reply_len} tokens of the reply, but {self.taken} came")
        most = self._asked.max_new_tokens
        if most is not None and chunk.reply_len > most:
            raise RemoteError(f"the server counts {chunk.reply_len} tokens of the reply where {most} were asked for")
