"""A dialogue as it went: at each call what the model saw, what it said, and what the program put into the history."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import index
from typing import Any, Literal, Protocol, cast, get_args

from chatlab.echo.replies import Continuations, ReplyStart, begin
from chatlab.errors import ChatlabError, DialogueError, GenerationError
from chatlab.prompts.dialogue import Dialogue, Message
from chatlab.prompts.filling import said_beside_text, text_of
from chatlab.streaming.channel_formats.choice import channels_for
from chatlab.streaming.channel_formats.message import message_of
from chatlab.streaming.channels import split_channels
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Tokenizer, refuse_lone_surrogates
from chatlab.turns.writer import Writer, end_ids_of, end_strs_of, said_text

StoredWay = Literal["verbatim", "stripped", "parsed"]
Store = StoredWay | Callable[[str], str | Message]
"""What the program keeps of a reply: all of it, without its outer blanks, what a parser of its format gives, or what a
function makes of the text: a text, or a message."""
History = Callable[[Sequence[Message]], Sequence[Message]]
"""What a program does to the messages before each call, such as leaving out the oldest ones."""


class Sampler(Protocol):
    """Whatever answers prompt ids with ids, such as :class:`chatlab.echo.generate.ModelReplies`."""

    def reply_ids(self, prompt_ids: Sequence[int]) -> list[int]:
        """Return the ids of the answer, without the prompt's."""
        ...


GivenReply = Sequence[int] | str
Replies = Literal["canonical"] | Sampler | Sequence[GivenReply]


@dataclass(frozen=True, kw_only=True, eq=False)
class SaidCall:
    """One call of the model: the prompt, and the reply with its place in the history."""

    messages: tuple[Message, ...]
    """What the program gave to be written."""
    whole: tuple[Message, ...]
    """What there was to be given: every message so far, as it is stored."""
    prompt: str
    prompt_ids: tuple[int, ...]
    reply: str = ""
    """What the model said, as text, without its end token."""
    reply_ids: tuple[int, ...] = ()
    ideal: Message | None = None
    """The message that says all of the reply."""
    stored: Message | None = None
    """The message that the program put into the history; None while the reply is to come."""
    clock: datetime | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Talks:
    """How dialogues are held: who writes, who answers, what is stored."""

    tokenizer: Tokenizer
    writer: Writer
    stored: Store = "verbatim"
    replies: Replies = "canonical"
    reply_start: ReplyStart | None = None
    history: History | None = None
    clocks: Sequence[datetime] | None = None
    end_ids: frozenset[int] = frozenset()
    end_strs: tuple[str, ...] = ()
    add_special_tokens: bool = False
    continuations: Continuations = None  # type: ignore[assignment]  # set by of()

    @classmethod
    def of(cls, tokenizer: Tokenizer, writer: Writer, *, end_ids: Collection[int] = (), **options: Any) -> Talks:
        """Return how dialogues are held with a tokenizer.

        Raises:
            ChatlabError: ``stored`` or ``reply_start`` is none of those there are.
        """
        stored, start = options.get("stored", "verbatim"), options.get("reply_start")
        if not callable(stored) and stored not in get_args(StoredWay):
            raise ChatlabError(f"stored is {', '.join(get_args(StoredWay))} or a function, not {stored!r:.80}")
        if start is not None and start not in get_args(ReplyStart):
            raise ChatlabError(f"reply_start must be one of {', '.join(get_args(ReplyStart))}, not {start!r:.80}")
        ends = end_ids_of(tokenizer, end_ids)
        continuations = Continuations(tokenizer)
        return cls(
            tokenizer=tokenizer,
            writer=writer,
            end_ids=ends,
            end_strs=end_strs_of(tokenizer, ends),
            continuations=continuations,
            **options,
        )

    def begun(self, content: str) -> str:
        """Return a content as the model begins it: with a space before a first word, save where a template writes."""
        default: ReplyStart = "bare" if self.writer.chat_template is not None else "word"
        return begin(content, self.reply_start or default)

    def kept(self, text: str) -> str:
        """Return what is stored of a reply that is text alone.

        Raises:
            GenerationError: ``stored`` fails, or gives a message that says more.
        """
        if self.stored == "verbatim":
            return text
        if self.stored == "stripped":
            return text.strip()
        kept = _asked(cast(Callable[[str], Any], self.stored), text, "stored")
        if not isinstance(kept, str):
            raise GenerationError(f"of a reply of text alone stored gives a text, not {kept!r:.80}")
        return kept

    def calls(self, dialogue: Dialogue) -> Iterator[SaidCall]:
        """Yield each call of a dialogue, oldest first; the last may be still without its reply.

        Raises:
            DialogueError: a reply before the last is missing, or there are fewer given ones.
            GenerationError: the model gives no ids, or ``stored`` or ``history`` fails.
            PromptError: the prompt class fails or lacks a place.
        """
        stored: list[Message] = []
        for number, call in enumerate(dialogue.calls):
            stored += call.messages[len(stored) :]
            clock = self._clock(number)
            messages = tuple(_asked(self.history, stored, "history")) if self.history else tuple(stored)
            prompt = self.writer.at(clock).write(messages)
            refuse_lone_surrogates(prompt)
            opened = SaidCall(
                messages=messages,
                whole=tuple(stored),
                prompt=prompt,
                prompt_ids=tuple(self.tokenizer.encode(prompt, add_special_tokens=self.add_special_tokens)),
                clock=clock,
            )
            if call.reply is None or call.reply.keys() == {"role"}:
                yield opened
                return
            said = self._answered(opened, call.reply, number)
            yield said
            stored.append(said.stored or call.reply)

    def _clock(self, number: int) -> datetime | None:
        if self.clocks is None:
            return self.writer.clock
        return self.clocks[min(number, len(self.clocks) - 1)]

    def _answered(self, opened: SaidCall, reply: Message, number: int) -> SaidCall:
        if self.replies == "canonical":
            return self._canonical(opened, reply)
        if hasattr(self.replies, "reply_ids"):
            return self.said(opened, _sampled(self.replies, opened.prompt_ids), reply)
        if number >= len(self.replies):
            raise DialogueError(f"reply_ids has {len(self.replies)} replies, and call {number + 1} has none")
        given = self.replies[number]
        if isinstance(given, str):
            return self._finish(opened, given, self.continued(given), reply, was_given=True)
        return self.said(opened, given, reply)

    def continued(self, text: str) -> tuple[int, ...]:
        """Return the ids of a reply as a model says it that goes on with a text."""
        return tuple(self.continuations.encode([text])[0])

    def _canonical(self, opened: SaidCall, reply: Message) -> SaidCall:
        content = reply.get("content")
        if isinstance(content, list | tuple) and said_beside_text(reply) is None:
            content = text_of(content)
        meant = {**reply, "content": self.begun(content)} if isinstance(content, str) else dict(reply)
        refuse_lone_surrogates(content if isinstance(content, str) else "")
        text, end = said_text(self.writer.at(opened.clock), opened.messages, meant, self.end_strs)
        end_id = self.tokenizer.special_strs.get(end)
        reply_ids = self.continued(text) + (() if end_id is None else (end_id,))
        return self._finish(opened, text, reply_ids, meant, was_given=False)

    def said(self, opened: SaidCall, reply_ids: Sequence[int], reply: Message) -> SaidCall:
        """Return the call with sampled ids; the program reads their text.

        Raises:
            GenerationError: they are no ids.
        """
        ids = tuple(_ids(reply_ids, "reply_ids"))
        body = ids[:-1] if ids and ids[-1] in self.end_ids else ids
        return self._finish(opened, text_after(self.tokenizer, opened.prompt_ids, body), ids, reply, was_given=True)

    def _finish(
        self, opened: SaidCall, text: str, reply_ids: Sequence[int], meant: Message, *, was_given: bool
    ) -> SaidCall:
        is_plain = said_beside_text(meant) is None
        ideal = {"role": "assistant", "content": text} if was_given and is_plain else meant
        said = replace(opened, reply=text, reply_ids=tuple(reply_ids), ideal=ideal)
        return replace(said, stored=self._stored(said))

    def _stored(self, said: SaidCall) -> Message:
        ideal = said.ideal or {}
        if self.stored == "verbatim":
            return ideal
        if self.stored == "stripped":
            return {
                key: value.strip() if key in _TEXTS and isinstance(value, str) else value
                for key, value in ideal.items()
            }
        if self.stored == "parsed":
            channels = channels_for("auto", self.writer.example, self.tokenizer, said.prompt_ids)
            parsed = message_of(split_channels(said.reply, channels), channels.calls, _schemas(self.writer.tools))
            return {key: value for key, value in parsed.items() if key != "unparsed_calls"}
        kept = _asked(self.stored, said.reply, "stored")
        if isinstance(kept, Mapping) and isinstance(kept.get("role"), str):
            return dict(kept)
        if not isinstance(kept, str):
            raise GenerationError(f"stored gives a text or a message with a role, not {kept!r:.80}")
        return {**ideal, "content": kept}


_TEXTS = ("content", "reasoning_content", "thinking", "reasoning")


def text_after(tokenizer: Tokenizer, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> str:
    """Return the text of ids that follow a prompt, with its control tokens."""
    detokenizer = StreamingDetokenizer(tokenizer.decoder(skip_special_tokens=False), prompt_ids, special_ids=())
    return detokenizer.put(list(token_ids)) + detokenizer.flush()


def _schemas(tools: Sequence[Any] | None) -> list[Mapping[str, Any]]:
    return [tool for tool in tools or () if isinstance(tool, Mapping)]


def _sampled(sampler: Any, prompt_ids: Sequence[int]) -> Sequence[int]:
    name = f"{type(sampler).__name__}.reply_ids"
    try:
        return _ids(sampler.reply_ids(list(prompt_ids)), name)
    except ChatlabError:
        raise
    except Exception as error:
        raise GenerationError(f"{name} failed: {type(error).__name__}: {error}") from error


def _ids(given: Any, name: str) -> list[int]:
    try:
        return [index(token_id) for token_id in given]
    except TypeError as error:
        raise GenerationError(f"{name} gives no list of token ids: {error}") from error


def _asked(ask: Callable[[Any], Any], given: Any, name: str) -> Any:
    """Call a function of the user's, and tell of it where it fails."""
    try:
        return ask(given)
    except ChatlabError:
        raise
    except Exception as error:
        raise GenerationError(f"{name} failed: {type(error).__name__}: {error}") from error
