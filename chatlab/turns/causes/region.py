"""Where, in the next prompt's text, the last reply stands: between how the history opens it and what closes it."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatlab.errors import ChatlabError
from chatlab.prompts.dialogue import Message

MARK = "Zq7xKwV"
"""A reply that no template has an opinion on."""

TAIL_LEN = 8
"""Characters at the end of a prompt that are looked for in the next one, where nothing opens a reply."""

Write = Callable[[Sequence[Message]], str]


@dataclass(frozen=True, kw_only=True)
class Region:
    """The reply's place in a next prompt, in code points."""

    start: int
    end: int
    opening: str
    """What a prompt writes to open a reply."""
    opened_len: int
    """Characters of it that the history writes too."""


def find_region(
    *,
    prompt: str,
    reply: str,
    closed: str | None,
    text: str,
    messages: Sequence[Message],
    at: int,
    write: Write,
    ends: Sequence[str],
) -> Region | None:
    """Find the reply by writing the same prompt with a mark in its place.

    Args:
        prompt: what the model saw.
        reply: what it said.
        closed: the same messages without the opening, where they can be written so.
        text: the next prompt.
        messages: those of the next prompt.
        at: which of them is the reply.
        write: writes messages as the next prompt.
        ends: texts of end tokens.

    Returns:
        ``None`` where the template takes no other reply there, or writes it elsewhere.
    """
    opening = prompt[len(closed) :] if closed is not None and prompt.startswith(closed) else ""
    for mark in _marks(messages[at]):
        try:
            marked = write([*messages[:at], mark, *messages[at + 1 :]])
        except ChatlabError:
            continue
        if marked.count(MARK) != 1:
            continue
        head, tail = marked.split(MARK)
        if len(mark) > 2:  # its calls stand behind the mark: the reply ends where its end token does
            tail = tail[min((i for end in ends if (i := tail.find(end)) >= 0), default=len(tail)) :]
        tail = tail if text.endswith(tail) else _common_end(tail, text)
        start, opened_len = _start(prompt, opening, head, text)
        end = len(text) - len(tail)
        if start is not None and text.startswith(reply, start) and reply:
            end = start + len(reply)
        else:
            end += _closing_len(reply, tail, ends)
        if start is not None and start <= end:
            return Region(start=start, end=end, opening=opening, opened_len=opened_len)
    return None


def _marks(reply: Message) -> list[Message]:
    """Replies to try: text alone; with the calls, where a result that follows needs them; in parts."""
    plain = {"role": "assistant", "content": MARK}
    calls = {key: reply[key] for key in ("tool_calls",) if reply.get(key)}
    parts = {"role": "assistant", "content": [{"type": "text", "text": MARK}]}
    return [plain, *([{**plain, **calls}] if calls else []), parts]


def _closing_len(reply: str, tail: str, ends: Sequence[str]) -> int:
    """Characters behind the mark that are the reply's own, such as what closes its channel before its end token."""
    closing = tail[: min((i for end in ends if (i := tail.find(end)) >= 0), default=0)]
    return len(closing) if closing.strip() and reply.rstrip().endswith(closing.strip()) else 0


def _common_end(one: str, other: str) -> str:
    common = os.path.commonprefix([one[::-1], other[::-1]])
    return common[::-1]


def _start(prompt: str, opening: str, head: str, text: str) -> tuple[int | None, int]:
    if text.startswith(prompt) and len(head) >= len(prompt):
        return len(prompt), len(opening)
    for opened_len in range(len(opening), 0, -1):
        at = head.rfind(opening[:opened_len])
        if at >= 0 and text.startswith(head[: at + opened_len]):
            return at + opened_len, opened_len
    for tail_len in range(
        min(TAIL_LEN, len(prompt)) * (not opening), 0, -1
    ):  # nothing opens a reply: what it follows does
        at = head.rfind(prompt[-tail_len:])
        if at >= 0 and text.startswith(head[: at + tail_len]):
            return at + tail_len, 0
    return (len(head), 0) if text.startswith(head) else (None, 0)
