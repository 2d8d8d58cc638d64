"""What an audit found, as values that are shown and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.severity import Severity
from chatlab.turns.audit.kinds import TOLD, Consumer, Kind


@dataclass(frozen=True, kw_only=True)
class TemplateFinding:
    """One fault of a chat template, or of the files beside it."""

    kind: Kind
    word: str
    """What tells it from others of its kind: a role, an error, which values; empty where there is one sort only."""
    severity: Severity
    title: str
    hurts: tuple[Consumer, ...]
    """Who relies on what is broken."""
    messages: tuple[dict[str, Any], ...]
    """The smallest conversation that shows it; empty where no conversation is needed."""
    tools: bool
    """Whether a tool is offered in it."""
    variables: dict[str, Any]
    """Switches that are set in it."""
    shapes: tuple[str, ...]
    """The shapes that show it."""
    before: str
    """What was given or stood there."""
    after: str
    """What stands there instead."""
    cause: str
    """The line of the template, where changing one thing on it undoes the finding, or where it raises."""
    by_design: bool
    """Whether vendors do so on purpose; who is hurt is hurt none the less."""
    cure: str

    @property
    def key(self) -> str:
        """Equal for the same fault of two templates: the kind, the word, and what kind of conversation shows it."""
        return f"{self.kind}: {self.word}: {outline(self.messages)}"

    @property
    def told(self) -> str:
        """The title with what tells it apart."""
        return f"{self.title} ({self.word})" if self.word else self.title


def outline(messages: tuple[dict[str, Any], ...]) -> str:
    """Return who speaks in a conversation, with what beside text.

    >>> outline(({"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{}]}))
    'user, assistant with a call'
    """
    return ", ".join(map(_speaker, messages))


def _speaker(message: dict[str, Any]) -> str:
    calls = len(message.get("tool_calls", ()))
    beside = [f"{calls} calls" if calls > 1 else "a call"] if calls else []
    beside += ["reasoning"] if "reasoning_content" in message else []
    beside += ["thoughts in the text"] if "</think>" in message["content"] else []
    return f"{message['role']} with {' and '.join(beside)}" if beside else str(message["role"])


def finding(kind: Kind, word: str = "", **fields: Any) -> TemplateFinding:
    """Return a finding in the words of its kind; ``fields`` are those that the kind does not say."""
    told = TOLD[kind]
    empty: dict[str, Any] = {"messages": (), "tools": False, "variables": {}, "shapes": (), "before": "", "after": ""}
    own: dict[str, Any] = {"cause": "", "cure": told.cure, "by_design": told.is_often_design, "severity": told.severity}
    return TemplateFinding(kind=kind, word=word, title=told.title, hurts=told.hurts, **{**empty, **own, **fields})


def of_fault(fault: Mapping[str, Any]) -> TemplateFinding:
    """Return the finding of what the child told."""
    conversation = fault["conversation"]
    fields: dict[str, Any] = {name: fault[name] for name in ("before", "after", "cause")}
    kind = Kind(fault["kind"])
    if fault["switch"]:
        fields["cure"] = f"render with {fault['switch']}: with it nothing of this is left"
    if kind is Kind.REFUSED:
        fields["by_design"] = fault["word"].startswith("TemplateError")
    if kind is Kind.HISTORY_REWRITTEN:
        fields["by_design"] = any(message["role"] == "system" for message in conversation["messages"])
    return finding(
        kind,
        fault["word"],
        messages=tuple(conversation["messages"]),
        tools=conversation["tools"],
        variables=dict(conversation["variables"]),
        shapes=tuple(fault["shapes"]),
        **fields,
    )


@dataclass(frozen=True, kw_only=True)
class TemplateFacts:
    """What a template does that is no fault, and that a change of it would be."""

    opening: str | None
    """What the generation prompt writes; ``None`` where the template refuses a plain question."""
    end_token: str | None
    """The token behind a reply."""
    reasoning: bool
    """Whether it writes reasoning."""
    marks: bool
    """Whether it marks what the model said with ``{% generation %}``."""
    thinking: Mapping[str, str]
    """Switch → whether the model thinks where nobody sets it: ``on``, ``off`` or ``neither``."""

    def lines(self) -> tuple[str, ...]:
        """Return the facts in words."""
        switches = [f"{name} is {state} unless it is set" for name, state in self.thinking.items()]
        return (
            f"a reply is opened with {self.opening!r}",
            f"a reply ends with {self.end_token!r}",
            f"reasoning is {'written' if self.reasoning else 'not written'}",
            "the loss mask is marked"
            if self.marks
            else "no loss mask is marked: assistant-only loss cannot be asked for",
            *switches,
        )
