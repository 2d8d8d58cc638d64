"""A template's renders of conversations, each made once, and of the template with one thing in it changed.

This runs in a child within limits: nothing here is called on a stranger's template in the process that asks.
"""

from __future__ import annotations

import copy
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import meta

from chatlab.errors import TemplateLimitError, TemplateSyntaxError
from chatlab.snapshots.recorder import (
    CLOCK,
    LATER,
    TEMPLATE_CHARACTERS,
    Watched,
    given,
    jinja_environment,
    without_addresses,
)
from chatlab.turns.audit.conversation import TOOL, Conversation

OPEN, CLOSE = "\ue0f0", "\ue0f1"
"""Stand around what ``{% generation %}`` marks; private characters that no template writes."""
MARK = "\ue0f2"
"""Put in the place of a text, to see where it comes to stand."""

_STATEMENT = re.compile(r"\{%[-+]?\s*(?:if|elif)\b(?:(?!%\}).)*%\}", re.DOTALL)
GIVEN = ("messages", "tools", "documents", "add_generation_prompt", *jinja_environment().globals)
"""Names that every template may use."""
STRIPPING = ("strip", "lstrip", "rstrip")


class Refusal(Exception):
    """A template raises, or does not render this."""

    line = 0
    """Where it raises; 0 where that is not known."""

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """Return what an error says, with its line: jinja's frames have the name of the template."""
        refusal = cls(f"{type(error).__name__}: {without_addresses(str(error))}"[:300])
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
        refusal.line = frames[-1].lineno or 0 if frames else 0
        return refusal


@dataclass(frozen=True)
class Change:
    """One thing in a template that can be changed: a test that is forced, or a filter that is left out."""

    number: int
    line: int
    kind: str
    """``test``, or the name of what is applied: ``trim``, ``strip``, ``string``."""
    value: bool = False
    """Of a test: what it is forced to."""

    test: int | None = None
    """Of the test of a statement: how many stand before it."""

    def in_words(self, source: str) -> str:
        """Return the line, or the statement, with what would undo a finding."""
        statements = _STATEMENT.findall(source)
        lines = source.splitlines()
        text = lines[self.line - 1].strip() if 0 < self.line <= len(lines) else ""
        if self.test is not None and self.test < len(statements) and statements[self.test] in text:
            text = statements[self.test]
        undone = f"were its test {str(self.value).lower()}" if self.kind == "test" else f"without its `{self.kind}`"
        return f"line {self.line}: {text[:160]} ({undone}, this would not be so)"


class Changeable(Watched):
    """A template in which tests can be forced and filters left out, one at a time; unchanged, it writes what it is."""

    def __init__(self, template: str) -> None:
        self.changes: list[Change] = []
        self.passed: set[int] = set()
        """Numbers of the changeable things that the last renders came through."""
        self.change: Change | None = None
        self._tests = 0
        super().__init__(template)
        environment = self._template.environment
        self.asked = meta.find_undeclared_variables(environment.parse(template))
        environment.globals.update(_tested=self._tested, _stripped=self._stripped)
        extension = next(e for e in environment.extensions.values() if "generation" in e.tags)
        extension._body = lambda caller: f"{OPEN}{caller()}{CLOSE}"

    def _watch(self, node: Any, nodes: Any) -> None:
        if isinstance(node, nodes.If | nodes.CondExpr):
            number = self._changeable(node, "test", self._tests if isinstance(node, nodes.If) else None)
            self._tests += isinstance(node, nodes.If)
            node.test = self._call("_tested", nodes, number, node.test)
        elif isinstance(node, nodes.Filter) and node.name in ("trim", "string"):
            self._filtered(node)
        elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr in STRIPPING:
            number = self._changeable(node, "strip")
            text, name = node.node.node, nodes.Const(node.node.attr)
            node.node = nodes.Name("_stripped", "load").set_lineno(node.lineno)
            node.args = [nodes.Const(number), text, name, *node.args]
        super()._watch(node, nodes)

    def _changeable(self, node: Any, kind: str, test: int | None = None) -> int:
        self.changes.append(Change(len(self.changes), node.lineno, kind, test=test))
        return len(self.changes) - 1

    def _call(self, name: str, nodes: Any, number: int, value: Any) -> Any:
        function = nodes.Name(name, "load")
        return nodes.Call(function, [nodes.Const(number), value], [], None, None).set_lineno(value.lineno)

    def _filtered(self, node: Any) -> None:
        number, applied = self._changeable(node, node.name), node.environment.filters[node.name]
        instead = node.environment.filters["tojson"] if node.name == "string" else (lambda value: value)

        def filtered(value: Any, *args: Any, **kwargs: Any) -> Any:
            self.passed.add(number)
            return instead(value) if self._is_changed(number) else applied(value, *args, **kwargs)

        node.name = f"_{node.name}_{number}"
        node.environment.filters[node.name] = filtered

    def _is_changed(self, number: int) -> bool:
        return self.change is not None and self.change.number == number

    def _tested(self, number: int, value: Any) -> Any:
        self.passed.add(number)
        return self.change.value if self.change is not None and self.change.number == number else value

    def _stripped(self, number: int, text: Any, name: str, *args: Any) -> Any:
        self.passed.add(number)
        return text if self._is_changed(number) else getattr(text, name)(*args)


@dataclass(frozen=True)
class Marked:
    """A render without its marks, and the spans of the loss mask in it."""

    text: str
    spans: tuple[tuple[int, int], ...]


def unmarked(text: str) -> Marked:
    """Take out the marks of ``{% generation %}``, and return where they stood."""
    parts: list[str] = []
    spans, starts, length = [], [], 0
    for character in text:
        if character == OPEN:
            starts.append(length)
        elif character == CLOSE and starts:
            spans.append((starts.pop(), length))
        else:
            parts.append(character)
            length += 1
    return Marked("".join(parts), tuple(sorted(spans)))


def _compiled(template: str) -> Changeable:
    try:
        return Changeable(template)
    except Exception as error:  # jinja's own, and what a template makes it run into
        told = f"line {error.lineno}: {error}" if hasattr(error, "lineno") else f"{type(error).__name__}: {error}"
        raise TemplateSyntaxError(f"the chat template is not Jinja: {told}"[:300]) from error


class Renders:
    """What the templates of one tokenizer write; where tools are offered, the one for tools does."""

    def __init__(self, templates: dict[str, str], specials: dict[str, str]) -> None:
        self.templates, self.specials = templates, specials
        self._compiled = {text: _compiled(text) for text in templates.values()}
        self._known: dict[tuple[str, bool], Marked | Refusal] = {}

    def source(self, conversation: Conversation) -> str:
        """Return the template that renders a conversation."""
        return self.templates.get("tool_use" if conversation.tools else "default", self.templates["default"])

    @property
    def marks(self) -> bool:
        """Whether a template marks what the model said."""
        return any("endgeneration" in text for text in self.templates.values())

    def text(self, conversation: Conversation, generation: bool = False) -> str:
        """Return a render.

        Raises:
            Refusal: the template fails.
        """
        return self.marked(conversation, generation).text

    def marked(self, conversation: Conversation, generation: bool = False) -> Marked:
        """Return a render with its loss mask.

        Raises:
            Refusal: the template fails.
        """
        key = conversation.key, generation
        if key not in self._known:
            try:
                self._known[key] = unmarked(self._render(conversation, generation))
            except Refusal as refusal:
                self._known[key] = refusal
        found = self._known[key]
        if isinstance(found, Refusal):
            raise found
        return found

    def moves(self, conversation: Conversation) -> bool:
        """Whether the prompt changes with the day."""
        watched = self._compiled[self.source(conversation)]
        text = self._render(conversation, True)
        return watched.asked_clock and self._render(conversation, True, late=True) != text

    def _render(self, conversation: Conversation, generation: bool, *, late: bool = False) -> str:
        values = {
            **self.specials,
            "messages": [given(message) for message in copy.deepcopy(conversation.messages)],
            "tools": [copy.deepcopy(TOOL)] if conversation.tools else None,
            "documents": None,
            "add_generation_prompt": generation,
            **conversation.variables,
        }
        try:
            text = self._compiled[self.source(conversation)].render(values, LATER if late else CLOCK)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # a template may raise anything
            raise Refusal.of(error) from error
        if len(text) > TEMPLATE_CHARACTERS:
            raise TemplateLimitError(f"the chat template wrote more than {TEMPLATE_CHARACTERS} characters")
        return text

    def switches(self, conversation: Conversation) -> list[str]:
        """Return the variables that a template asks its caller for, beside what every caller gives."""
        return sorted(self._compiled[self.source(conversation)].asked - {*GIVEN, *self.specials})

    def line(self, conversation: Conversation, number: int) -> str:
        """Return a line of the template with its number; empty where there is none."""
        lines = self.source(conversation).splitlines()
        return f"line {number}: {lines[number - 1].strip()[:160]}" if 0 < number <= len(lines) else ""

    def unreached(self) -> dict[str, list[int]]:
        """Return the lines of each template whose branches no render has gone through."""
        lines = {
            name: sorted({row["line"] for row in self._compiled[text].unreached(self._compiled[text].reached)})
            for name, text in self.templates.items()
        }
        return {name: found for name, found in lines.items() if found}

    def changed(self, conversation: Conversation) -> Iterator[tuple[Change, Renders]]:
        """Yield each thing of the template that a conversation passes, with the renders of the template without it."""
        watched = self._compiled[self.source(conversation)]
        for number in sorted(self._passed(conversation, watched)):
            change = watched.changes[number]
            for value in (False, True) if change.kind == "test" else (False,):
                one = replace(change, value=value)
                yield one, _With(self, watched, one)

    def _passed(self, conversation: Conversation, watched: Changeable) -> set[int]:
        watched.passed.clear()
        for end in range(1, len(conversation.messages) + 1):
            for generation in (False, True):
                try:
                    self._render(conversation.until(end), generation)
                except Refusal:
                    continue
        return set(watched.passed)


class _With(Renders):
    """The renders with one change; the unchanged ones are not touched."""

    def __init__(self, plain: Renders, watched: Changeable, change: Change) -> None:
        self.templates, self.specials = plain.templates, plain.specials
        self._compiled, self._known = plain._compiled, {}
        self._watched, self._change = watched, change

    def _render(self, conversation: Conversation, generation: bool, *, late: bool = False) -> str:
        self._watched.change = self._change
        try:
            return super()._render(conversation, generation, late=late)
        except (RecursionError, TemplateLimitError) as error:  # the change did it, and not the template
            raise Refusal(str(error)) from error
        finally:
            self._watched.change = None
