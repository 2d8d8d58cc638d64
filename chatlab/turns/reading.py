"""How one border was read: under which setting, what came of it, and one place where it differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from chatlab.echo.replies import Continuations
from chatlab.errors import ChatlabError
from chatlab.prompts.dialogue import Message
from chatlab.prompts.filling import text_of
from chatlab.streaming.channel_formats.choice import channels_for
from chatlab.streaming.channels import Channels
from chatlab.tokenizers.interface import Tokenizer
from chatlab.turns.align import Gap, Side, iter_gaps, joined, side_of, streamed_side
from chatlab.turns.border import Border, end_len
from chatlab.turns.parts import Parts, parts_of
from chatlab.turns.region import Region, find_region
from chatlab.turns.talk import SaidCall
from chatlab.turns.writer import Writer

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One border as it went: a call with its reply, and the next call."""

    tokenizer: Tokenizer
    writer: Writer
    call: SaidCall
    after: SaidCall
    end_ids: frozenset[int]
    end_strs: tuple[str, ...]
    add: bool = False
    """Whether prompts are encoded with BOS and EOS."""
    given: bool = False
    """Whether ids come from elsewhere and were not made here."""
    written: dict[Any, Any] = field(default_factory=dict)
    """Texts that were written once."""

    @cached_property
    def channels(self) -> Channels:
        """How the model delimits its replies, wherever they begin."""
        return channels_for("auto", self.writer.example, self.tokenizer, ())

    @cached_property
    def reply_at(self) -> int | None:
        """Which message of the next call is the reply; None where it is none of them."""
        found = [at for at, message in enumerate(self.after.messages) if message is self.call.stored]
        return found[-1] if found else None

    @cached_property
    def new_messages(self) -> tuple[Message, ...]:
        """What was said between the two calls."""
        return self.after.whole[len(self.call.whole) + 1 :]


@dataclass(frozen=True, kw_only=True)
class TurnSetting:
    """A border, and what is done otherwise than it was done: all that decides what the border shows."""

    tokenizer: Tokenizer
    case: Case
    own: bool = False
    """Write and encode both prompts here, whatever ids were given."""
    ideal: bool = False
    """Store the message that says all of the reply."""
    alone: bool = False
    """Let the history end with the reply: no new message follows."""
    uncut: bool = False
    """Give the messages of the call, the reply and what is new."""
    frozen: bool = False
    """Tell the next prompt the time of the call."""
    variables: tuple[tuple[str, Any], ...] = ()
    """Further template variables of the next prompt."""
    without: frozenset[str] = frozenset()
    """Leave out of both prompts: system, tools, reasoning."""
    restored: frozenset[str] = frozenset()
    """Parts of the reply that stand in the next prompt as the program gave them, and ``opening``, ``end``."""
    apart: bool = False
    """Encode the reply apart from what stands round it."""
    canonical: bool = False
    """Let the model say the ids that its text has."""
    without_bos: bool = False

    def read(self) -> TurnReading:
        """Write, encode and compare."""
        reading = TurnReading(setting=self)
        _ = reading.gaps  # what fails, fails here, where the laboratory looks for it
        return reading

    def shows(self, reading: TurnReading) -> bool:
        """Tell whether the border differs as another reading does: the null control."""
        own = self.read()
        return [gap.said_text for gap in own.gaps] == [gap.said_text for gap in reading.gaps]


def _left_out(message: Message, without: frozenset[str]) -> Message | None:
    if "system" in without and message["role"] in ("system", "developer"):
        return None
    if "reasoning" not in without or message["role"] != "assistant":
        return message
    return {k: v for k, v in message.items() if k not in ("reasoning_content", "thinking", "reasoning")}


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnReading:
    """One border read under one setting."""

    setting: TurnSetting

    @property
    def case(self) -> Case:
        """The border."""
        return self.setting.case

    @cached_property
    def writer(self) -> Writer:
        """Who writes the next prompt."""
        writer = self.case.writer.at(self.case.call.clock if self.setting.frozen else self.case.after.clock)
        return self._without_tools(writer.told(**dict(self.setting.variables)) if self.setting.variables else writer)

    def _without_tools(self, writer: Writer) -> Writer:
        if "tools" not in self.setting.without:
            return writer
        return Writer(prompt_class=writer.prompt_class, variables=writer.variables, clock=writer.clock)

    @cached_property
    def stored(self) -> Message:
        """What stands in the history for the reply."""
        message = self.case.call.ideal if self.setting.ideal else self.case.call.stored
        return message or {"role": "assistant", "content": ""}

    @cached_property
    def _before(self) -> list[Message]:
        without = self.setting.without
        return [kept for m in self.case.call.messages if (kept := _left_out(m, without)) is not None]

    @cached_property
    def _after(self) -> tuple[list[Message], int | None]:
        """The messages of the next prompt, and which of them is the reply."""
        case, without = self.case, self.setting.without
        if self.setting.alone:
            return [*self._before, self.stored], len(self._before)
        if self.setting.uncut:
            return [*self._before, self.stored, *case.new_messages], len(self._before)
        messages, at = list[Message](), None
        for number, message in enumerate(case.after.messages):
            if number == case.reply_at:
                at = len(messages)
                messages.append(self.stored)
            elif (kept := _left_out(message, without)) is not None:
                messages.append(kept)
        return messages, at

    @property
    def _is_rewritten(self) -> bool:
        s = self.setting
        return bool(
            s.ideal or s.alone or s.uncut or s.frozen or s.variables or s.without or (s.own and self.case.given)
        )

    @cached_property
    def prompt(self) -> str:
        """What the model saw."""
        case, s = self.case, self.setting
        if not s.without and not (s.own and case.given):
            return case.call.prompt
        writer = self._without_tools(case.writer.at(case.call.clock))
        return self._once(("prompt", s.without), lambda: writer.write(self._before))

    @cached_property
    def _written(self) -> str:
        """The next prompt as it is written, with nothing restored."""
        if not self._is_rewritten:
            return self.case.after.prompt
        return self._once(("next", *self._key, self.setting.ideal), self._write_next)

    def _write_next(self) -> str:
        return self._write(self._after[0])

    def _write(self, messages: Sequence[Message]) -> str:
        return self.writer.write(messages, opened=not self.setting.alone)

    @property
    def _key(self) -> tuple[Any, ...]:
        s = self.setting
        return s.alone, s.uncut, s.frozen, repr(s.variables), s.without, s.own

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self.case.written:
            self.case.written[key] = make()
        found: T = self.case.written[key]
        return found

    @cached_property
    def region(self) -> Region | None:
        """Where the reply stands in the written next prompt."""
        if self._after[1] is None or not self.case.call.messages:
            return None
        return self._once(("region", *self._key, self.setting.ideal), self._find_region)

    def _find_region(self) -> Region | None:
        messages, at = self._after
        assert at is not None
        try:
            closed = self._without_tools(self.case.writer.at(self.case.call.clock)).write(self._before, opened=False)
        except ChatlabError:
            closed = None
        return find_region(
            prompt=self.prompt,
            reply=self.case.call.reply,
            closed=closed,
            text=self._written,
            messages=messages,
            at=at,
            write=self._write,
            ends=self.case.end_strs,
        )

    @cached_property
    def given_parts(self) -> Parts | None:
        """The parts of the reply as the program gave them to the template; None where nobody can tell."""
        call, channels = self.case.call, self.case.channels.after(self.prompt)
        stored, ideal = self.stored, call.ideal or {}
        if stored == ideal:
            return parts_of(call.reply, channels)
        if {k: v for k, v in stored.items() if k != "content"} != {k: v for k, v in ideal.items() if k != "content"}:
            return None
        content, kept = text_of(ideal.get("content")), text_of(stored.get("content"))
        at = call.reply.rfind(content) if content else -1
        return parts_of(kept if at < 0 else call.reply[:at] + kept + call.reply[at + len(content) :], channels)

    @cached_property
    def written_parts(self) -> Parts | None:
        """The parts of the reply as the next prompt has them."""
        if self.region is None:
            return None
        head = self._written[: self.region.start]
        return parts_of(self._written[self.region.start : self.region.end], self.case.channels.after(head))

    @cached_property
    def pieces(self) -> tuple[str, str, str]:
        """The next prompt: what stands before the reply, the reply, what stands behind it."""
        region, written = self.region, self._written
        if region is None:
            return written, "", ""
        head, tail = written[: region.start], written[region.end :]
        reply, given, restored = self.written_parts, self.given_parts, self.setting.restored
        assert reply is not None
        if given is not None:
            reply = reply.with_parts(given, restored & {"lead", "reasoning", "content", "calls", "trail"})
        if "opening" in restored:
            head += region.opening[region.opened_len :]
        if "end" in restored:
            tail = self.said_end + tail[self._written_end(tail) :]
        return head, reply.text, tail

    def _written_end(self, tail: str) -> int:
        """Where the first end token of a text ends, if no other control token stands before it; 0 where none does."""
        match = self.case.tokenizer.special_pattern.search(tail)
        return match.end() if match and match[0] in self.case.end_strs else 0

    @cached_property
    def said_end(self) -> str:
        """The end token that the model said, as text."""
        reply_ids = self.case.call.reply_ids
        if not reply_ids or reply_ids[-1] not in self.case.end_ids:
            return ""
        return self.case.tokenizer.piece(reply_ids[-1])

    @cached_property
    def text(self) -> str:
        """The next prompt."""
        return "".join(self.pieces)

    @cached_property
    def reply_ids(self) -> tuple[int, ...]:
        """What the model said."""
        ids = self.case.call.reply_ids
        if not self.setting.canonical:
            return ids
        return self.canonical_ids + (ids[-1:] if ids and ids[-1] in self.case.end_ids else ())

    @cached_property
    def canonical_ids(self) -> tuple[int, ...]:
        """The ids that the text of the reply has, without its end token."""
        return tuple(self._continuations.encode([self.case.call.reply])[0])

    @property
    def _continuations(self) -> Continuations:
        tokenizer = self.setting.tokenizer
        return self._once(("continuations", id(tokenizer)), lambda: Continuations(tokenizer))

    @cached_property
    def _said(self) -> Side:
        """What the model saw and said, its end token included."""
        s, case = self.setting, self.case
        is_own = s.tokenizer is case.tokenizer and not s.without and not (s.own and case.given)
        if is_own:
            ids: Sequence[int] = case.call.prompt_ids
        else:
            ids = s.tokenizer.encode(self.prompt, add_special_tokens=case.add)
        prompt = side_of(s.tokenizer, self.prompt, self._no_bos(ids), add_special_tokens=case.add)
        return joined(prompt, streamed_side(case.tokenizer, case.call.prompt_ids, self.reply_ids))

    def _no_bos(self, ids: Sequence[int]) -> Sequence[int]:
        """The ids without those BOS ones that they begin with, where these are to be left out."""
        if not self.setting.without_bos:
            return ids
        bos = bos_id(self.case.tokenizer)
        start = next((at for at, token_id in enumerate(ids) if token_id != bos), len(ids))
        return ids[start:]

    @cached_property
    def _next(self) -> Side:
        s, case = self.setting, self.case
        untouched = not (self._is_rewritten or s.restored or s.apart) and s.tokenizer is case.tokenizer
        if untouched:
            return side_of(s.tokenizer, self.text, self._no_bos(case.after.prompt_ids), add_special_tokens=case.add)
        head, reply, tail = self.pieces
        if not s.apart or self.region is None:
            ids = s.tokenizer.encode(self.text, add_special_tokens=case.add)
            return side_of(s.tokenizer, self.text, self._no_bos(ids), add_special_tokens=case.add)
        ids = s.tokenizer.encode(head, add_special_tokens=case.add)
        side = side_of(s.tokenizer, head, ids, add_special_tokens=case.add)
        for part in (reply, tail):
            (continued,) = self._continuations.encode([part])
            side = joined(side, _spread(streamed_side(s.tokenizer, side.token_ids, continued), part))
        return side

    @cached_property
    def _cut(self) -> tuple[int, int | None]:
        """Whether the template closes the reply as the model did, and how many ids of the next prompt stand for it."""
        case, after = self.case, self._next
        special = case.tokenizer.special_ids
        if self.region is None:
            said = self._said.token_ids
            kept = Border(prompt_ids=(), reply_ids=tuple(said[:-1]), next_ids=tuple(after.token_ids)).kept_len
            closes = end_len(self.reply_ids, after.token_ids[kept:], case.end_ids, special)
            return closes, None
        head, reply, _ = self.pieces
        end = after.index_at(len(head) + len(reply))
        closes = end_len(self.reply_ids, after.token_ids[end:], case.end_ids, special)
        if closes:
            end = next(at for at in range(end, len(after.token_ids)) if after.token_ids[at] in case.end_ids) + 1
        return closes, end

    @cached_property
    def border(self) -> Border:
        """The border in ids."""
        prompt_len = len(self._said.token_ids) - len(self.reply_ids)
        return Border(
            prompt_ids=tuple(self._said.token_ids[:prompt_len]),
            reply_ids=tuple(self.reply_ids),
            next_ids=tuple(self._next.token_ids),
            end_len=self._cut[0],
        )

    @cached_property
    def gaps(self) -> list[Gap]:
        """Where what was seen and said differs from how the next prompt begins."""
        return list(iter_gaps(self._said, self._next, self._cut[1], self._stations))

    @cached_property
    def _stations(self) -> list[tuple[int, int]]:
        """Places in the text that are the same on both sides: where the reply is opened, and where it begins."""
        region = self.region
        if region is None:
            return []
        head = len(self.pieces[0])
        opened = region.opened_len if "opening" not in self.setting.restored else len(region.opening)
        return [(len(self.prompt) - len(region.opening), head - opened), (len(self.prompt), head)]

    @cached_property
    def bridge_start(self) -> int:
        """Which id of the next prompt is the first that is new."""
        shift = sum((g.next[1] - g.next[0]) - (g.said[1] - g.said[0]) for g in self.gaps)
        return len(self._said.token_ids) + shift

    @property
    def said_text(self) -> str:
        """What the model saw and said."""
        return self._said.text

    @property
    def next_text(self) -> str:
        """The next prompt, as its ids spell it."""
        return self._next.text

    @cached_property
    def head_len(self) -> int:
        """Characters of the prompt before it opens the reply."""
        return len(self.prompt) - (len(self.region.opening) if self.region else 0)

    @cached_property
    def is_text_kept(self) -> bool:
        """Whether the next prompt's text begins with the prompt and the reply."""
        return self.text.startswith(self.prompt + self.case.call.reply)


def _spread(side: Side, text: str) -> Side:
    """Ids with the text that they were made of, where their own text is another."""
    return (
        side
        if side.text == text
        else Side(token_ids=side.token_ids, text=text, spans=[(0, len(text))] * len(side.spans))
    )


def bos_id(tokenizer: Tokenizer) -> int | None:
    """The id that begins a text, where the tokenizer has one."""
    own = getattr(tokenizer.wrapped, "bos_token_id", None)
    return own if isinstance(own, int) else tokenizer.special_strs.get("<s>")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One difference at a border: what the laboratory is to explain."""

    gap: Gap
    reading: TurnReading

    @cached_property
    def said(self) -> str:
        """What was seen and said there."""
        return self.reading.said_text[slice(*self.gap.said_text)]

    @cached_property
    def next(self) -> str:
        """What the next prompt has there."""
        return self.reading.next_text[slice(*self.gap.next_text)]

    @property
    def same_text(self) -> bool:
        """Whether only the ids are others."""
        return self.reading.is_text_kept or self.said == self.next

    @property
    def in_head(self) -> bool:
        """Whether it lies before the reply was opened."""
        return self.gap.said_text[0] < self.reading.head_len

    @cached_property
    def is_thought(self) -> bool:
        """Whether a delimiter of thoughts stands in what was said there, or touches it."""
        start, end = self.gap.said_text
        near = self.reading.said_text[max(0, start - 12) : end + 12]
        states = [state for _, state in self.reading.case.channels.states]
        leads = {c.text.strip() for s in states for c in s.crossings if "reasoning" in (s.channel, self._channel(c.to))}
        return any(text in near for text in leads if text)

    def _channel(self, name: str) -> str:
        return dict(self.reading.case.channels.states)[name].channel

    @property
    def in_reply(self) -> bool:
        """Whether it lies in what the model said."""
        return self.gap.said_text[1] >= len(self.reading.prompt)

    def is_gone_in(self, after: TurnReading) -> bool:
        """Tell whether another reading no longer differs here."""
        start, end = self.gap.said_text
        return not any(_touches(start, end, *gap.said_text) for gap in after.gaps)


def _touches(start: int, end: int, other_start: int, other_end: int) -> bool:
    if start < end and other_start < other_end:
        return max(start, other_start) < min(end, other_end)
    return max(start, other_start) <= min(end, other_end)
