"""The texts of a border as it is written under a setting, and where the reply stands in the next prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from chatlab.errors import ChatlabError
from chatlab.prompts.dialogue import Message
from chatlab.prompts.filling import text_of
from chatlab.turns.causes.case import Case, TurnSetting
from chatlab.turns.causes.parts import Parts, parts_of
from chatlab.turns.causes.region import Region, find_region
from chatlab.turns.writer import Writer

T = TypeVar("T")


def _left_out(message: Message, without: frozenset[str]) -> Message | None:
    if "system" in without and message["role"] in ("system", "developer"):
        return None
    if "reasoning" not in without or message["role"] != "assistant":
        return message
    return {k: v for k, v in message.items() if k not in ("reasoning_content", "thinking", "reasoning")}


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenTurn:
    """The texts of one border under one setting: what was seen, and the next prompt."""

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
    def before(self) -> list[Message]:
        """The messages that the model saw."""
        without = self.setting.without
        return [kept for m in self.case.call.messages if (kept := _left_out(m, without)) is not None]

    @cached_property
    def after(self) -> tuple[list[Message], int | None]:
        """The messages of the next prompt, and which of them is the reply."""
        case, without = self.case, self.setting.without
        if self.setting.alone:
            return [*self.before, self.stored], len(self.before)
        if self.setting.uncut:
            return [*self.before, self.stored, *case.new_messages], len(self.before)
        messages, at = list[Message](), None
        for number, message in enumerate(case.after.messages):
            if number == case.reply_at:
                at = len(messages)
                messages.append(self.stored)
            elif (kept := _left_out(message, without)) is not None:
                messages.append(kept)
        return messages, at

    @property
    def is_rewritten(self) -> bool:
        """Whether the next prompt is written anew."""
        s = self.setting
        return bool(s.ideal or s.alone or s.uncut or s.frozen or s.variables or s.without or self._is_retold)

    @property
    def _is_retold(self) -> bool:
        """Whether texts that came from elsewhere are written here; without messages they are as they came."""
        case = self.case
        return self.setting.own and case.given and bool(case.call.messages and case.after.messages)

    @cached_property
    def prompt(self) -> str:
        """What the model saw."""
        case, s = self.case, self.setting
        if not s.without and not self._is_retold:
            return case.call.prompt
        writer = self._without_tools(case.writer.at(case.call.clock))
        return self.once(("prompt", s.without), lambda: writer.write(self.before))

    @cached_property
    def _written(self) -> str:
        """The next prompt as it is written, with nothing restored."""
        if not self.is_rewritten:
            return self.case.after.prompt
        return self.once(("next", *self._key, self.setting.ideal), self._write_next)

    def _write_next(self) -> str:
        return self._write(self.after[0])

    def _write(self, messages: Sequence[Message]) -> str:
        return self.writer.write(messages, opened=not self.setting.alone)

    @property
    def _key(self) -> tuple[Any, ...]:
        s = self.setting
        return s.alone, s.uncut, s.frozen, repr(s.variables), s.without, s.own

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what was made once for the border."""
        if key not in self.case.written:
            self.case.written[key] = make()
        found: T = self.case.written[key]
        return found

    @cached_property
    def region(self) -> Region | None:
        """Where the reply stands in the written next prompt."""
        if self._written.startswith(self.prompt + self.case.call.reply):
            end = len(self.prompt + self.case.call.reply)
            return Region(start=len(self.prompt), end=end, opening="", opened_len=0)
        if self.after[1] is None or not self.case.call.messages:
            return None
        return self.once(("region", *self._key, self.setting.ideal), self._find_region)

    def _find_region(self) -> Region | None:
        messages, at = self.after
        assert at is not None
        try:
            closed = self._without_tools(self.case.writer.at(self.case.call.clock)).write(self.before, opened=False)
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
            parts = parts_of(call.reply, channels)
            return _with_calls(parts, text_of(ideal.get("content"))) if ideal.get("tool_calls") else parts
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


def _with_calls(parts: Parts, content: str) -> Parts:
    """The parts of a reply that calls tools in a way that the template does not know: all behind its content."""
    at = parts.content.find(content.strip())
    if parts.calls or at < 0:
        return parts
    end = at + len(content.strip())
    return replace(parts, content=parts.content[:end], calls=parts.content[end:])
