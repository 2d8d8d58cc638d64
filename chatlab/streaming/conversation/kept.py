"""What was seen and said, call by call, in ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chatlab.plain import Plain
from chatlab.streaming.detokenizer import StreamingDetokenizer
from chatlab.tokenizers.interface import Tokenizer

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lost(Plain):
    """What a next prompt did not keep of what was seen and said, and where that comes from."""

    kept_len: int
    """Ids that it still begins with."""
    lost_len: int
    """Ids behind those."""
    layer: Literal["template", "program"]
    """Who is to change: the template, or the program that changed what was said. :func:`chatlab.trace_turns` knows more."""
    why: str


@dataclass(frozen=True, kw_only=True)
class KeptCall:
    """One call of the model."""

    messages: tuple[Message, ...]
    """What came into the history since the call before, the reply last."""
    kept_len: int
    """Ids of the calls before that the prompt begins with; all they saw and said but what :attr:`lost` tells, and an end
    token that the template writes otherwise."""
    read_ids: tuple[int, ...]
    """Ids of the prompt behind those: a whole prompt, or a bridge."""
    reply_ids: tuple[int, ...]
    end_id: int | None = None
    """The token that ended the reply, where the model said one; it is the last of :attr:`reply_ids`."""
    beyond: str = field(default="", repr=False)
    """Text that the model said behind what the history has: a stop string, and what came with it."""
    lost: Lost | None = None

    @property
    def prompt_len(self) -> int:
        """Ids of the prompt."""
        return self.kept_len + len(self.read_ids)


def ids_of_calls(calls: Iterable[KeptCall]) -> list[int]:
    """All that was seen and said, one call after the other."""
    ids: list[int] = []
    for call in calls:
        del ids[call.kept_len :]
        ids += call.read_ids
        ids += call.reply_ids
    return ids


def said_len(
    tokenizer: Tokenizer, prompt_ids: Sequence[int], reply_ids: Sequence[int], beyond_len: int
) -> tuple[int, str]:
    """How many ids of a reply say nothing beyond its last ``beyond_len`` characters, and the text before those left unsaid."""
    detokenizer = StreamingDetokenizer(tokenizer.decoder(skip_special_tokens=False), prompt_ids, special_ids=())
    ends, text = [0], ""
    for token_id in reply_ids:
        text += detokenizer.put((token_id,))
        ends.append(len(text))
    shown_len = len(text + detokenizer.flush()) - beyond_len
    count = next((count for count in range(len(ends) - 1, 0, -1) if ends[count] <= shown_len), 0)
    return count, text[ends[count] : shown_len]
