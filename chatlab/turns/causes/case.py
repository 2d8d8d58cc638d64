"""One border as it went, and what may be done otherwise at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from chatlab.prompts.dialogue import Message
from chatlab.streaming.channel_formats.choice import channels_for
from chatlab.streaming.channels import Channels
from chatlab.tokenizers.interface import Tokenizer
from chatlab.turns.talk import SaidCall
from chatlab.turns.writer import Writer


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


def bos_id(tokenizer: Tokenizer) -> int | None:
    """The id that begins a text, where the tokenizer has one."""
    own = getattr(tokenizer.wrapped, "bos_token_id", None)
    return own if isinstance(own, int) else tokenizer.special_strs.get("<s>")
