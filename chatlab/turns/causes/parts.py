"""The parts of a reply's text: thoughts, outer blanks, content, tool calls; and a reply with some parts of another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from chatlab.streaming.channels import Channels, Passage, split_channels


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A reply cut into five, in this order. **Law.** Joined they are the reply."""

    reasoning: str = ""
    """All up to the content or the first call, where it thinks or delimits: thoughts with what stands round them."""
    lead: str = ""
    """Blanks before the content."""
    content: str = ""
    calls: str = ""
    """All from the first tool call on."""
    trail: str = ""
    """Blanks behind everything else."""
    thoughts: str = ""
    """What the reasoning says, without its delimiters: no part of its own."""

    @property
    def text(self) -> str:
        """The reply."""
        return self.reasoning + self.lead + self.content + self.calls + self.trail

    def with_parts(self, other: Parts, names: Collection[str]) -> Parts:
        """The same with some parts of another reply."""
        return replace(self, **{name: getattr(other, name) for name in names})


def parts_of(text: str, channels: Channels) -> Parts:
    r"""Cut a reply; one that thinks or calls between what it says is content altogether.

    >>> from chatlab.streaming.channel_formats.registry import channels_named
    >>> parts_of("<think>Hm.</think> Yes.\n", channels_named("qwen3"))
    Parts(reasoning='<think>Hm.</think>', lead=' ', content='Yes.', calls='', trail='\n', thoughts='Hm.')
    """
    passages = split_channels(text, channels)
    before, said, calls = list[Passage](), list[Passage](), list[Passage]()
    for passage in passages:
        if passage.channel == "tool_call" or calls:
            calls.append(passage)
        elif said or (passage.channel == "content" and not passage.delimiter):
            said.append(passage)
        else:
            before.append(passage)
    reasoning, content, called = (_text(part) for part in (before, said, calls))
    if any(_said(p, "reasoning") for p in (*said, *calls)) or any(_said(p, "content") for p in calls):
        reasoning, content, called, before = "", text, "", []
    inner = content.strip()
    lead_len = content.index(inner) if inner else len(content)
    lead, trail = content[:lead_len], content[lead_len + len(inner) :]
    if called:
        called, inner, trail = called.rstrip(), inner + trail, called[len(called.rstrip()) :]
    thoughts = "".join(p.text for p in before if p.channel == "reasoning" and not p.delimiter)
    return Parts(reasoning=reasoning, lead=lead, content=inner, calls=called, trail=trail, thoughts=thoughts.strip())


def _said(passage: Passage, channel: str) -> bool:
    return passage.channel == channel and not passage.delimiter and bool(passage.text.strip())


def _text(passages: list[Passage]) -> str:
    return "".join(passage.text for passage in passages)
