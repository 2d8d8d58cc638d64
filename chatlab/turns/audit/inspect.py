"""A template through every shape: what is wrong, the smallest conversation that shows it, and what in the template does it.

This is the child's part: it takes and returns JSON values, and no other process renders the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chatlab.turns.audit.calls import check_calls
from chatlab.turns.audit.checks import (
    Check,
    Symptom,
    check_borders,
    check_bos,
    check_clock,
    check_drops,
    check_ends,
    check_mask,
    check_mask_of_others,
    check_refusal,
    check_trims,
    writes_reasoning,
)
from chatlab.turns.audit.conversation import SHAPES, SWITCHES, Conversation, shapes_for
from chatlab.turns.audit.kinds import Kind
from chatlab.turns.audit.places import border, end_token, marked_content
from chatlab.turns.audit.renders import MARK, Refusal, Renders
from chatlab.turns.audit.shrink import contains, shrink

CHECKS: tuple[Check, ...] = (
    check_drops,
    check_trims,
    check_calls,
    check_borders,
    check_ends,
    check_mask,
    check_mask_of_others,
    check_clock,
    check_bos,
)
"""Each is made of every shape that the template does not refuse."""

_EDITS = {Kind.REPLY_TRIMMED: ("trim", "strip"), Kind.CALL_CHANGED: ("string", "test")}
"""What of a template is tried as the cause of a kind; of other kinds everything is."""

_SWITCHED = (Kind.REASONING_DROPPED, Kind.THINK_BLOCK_DROPPED, Kind.OPENING_DIFFERS, Kind.CLOCK)
"""Kinds that templates have switches for."""

SHOWN = 240
"""So many characters of a render stand in a finding."""


@dataclass
class Found:
    """A fault with the smallest conversation and the shapes that show it."""

    renders: Renders
    check: Check
    symptom: Symptom
    conversation: Conversation
    shapes: list[str] = field(default_factory=list)
    cause: str = ""
    switch: str = ""
    """A variable of the template's own that undoes it, with its value."""


def inspect(argument: dict[str, Any]) -> dict[str, Any]:
    """Return findings, facts and texts of the ``templates`` (``default``, perhaps ``tool_use``) with ``specials``."""
    renders = Renders(argument["templates"], argument["specials"])
    switches = _switches(renders)
    shapes = shapes_for(switches)
    found = faults(renders, shapes)
    for fault in found:
        fault.cause, fault.switch = cause_of(renders, fault), switch_of(renders, fault)
    facts = _facts(renders, switches)
    return {
        "faults": [_told(fault) for fault in found],
        "facts": facts,
        "renders": {name: _rendered(renders, shape) for name, shape in shapes.items()},
        "borders": {name: _borders(renders, shape) for name, shape in shapes.items()},
        "unreached": renders.unreached(),
    }


def named(argument: dict[str, Any]) -> dict[str, Any]:
    """Return faults and facts alone, without what in the template does it: enough to tell two templates apart."""
    renders = Renders(argument["templates"], argument["specials"])
    switches = _switches(renders)
    told = [_told(fault) for fault in faults(renders, shapes_for(switches))]
    return {"faults": told, "facts": _facts(renders, switches)}


def _switches(renders: Renders) -> tuple[str, ...]:
    return tuple(
        name for name in SWITCHES if any(re.search(rf"\b{name}\b", text) for text in renders.templates.values())
    )


def borders(argument: dict[str, Any]) -> list[Any]:
    """Return the borders of each of ``conversations``: what is encoded to see whether ids are kept."""
    renders = Renders(argument["templates"], argument["specials"])
    return [_borders(renders, Conversation.from_dict(data)) for data in argument["conversations"]]


def faults(renders: Renders, shapes: dict[str, Conversation]) -> list[Found]:
    """Return each fault once, with the smallest conversation that shows it."""
    found: list[Found] = []
    for name, shape in shapes.items():
        for check, symptom in symptoms(renders, shape):
            _add(renders, found, name, shape, check, symptom)
    return found


def symptoms(renders: Renders, conversation: Conversation) -> Iterator[tuple[Check, Symptom]]:
    """Yield what every check says of a conversation; of one that is refused, no more than that."""
    refused = list(check_refusal(renders, conversation))
    if refused:
        yield check_refusal, refused[0]
        return
    for check in CHECKS:
        yield from ((check, symptom) for symptom in _checked(renders, conversation, check))


def _checked(renders: Renders, conversation: Conversation, check: Check) -> list[Symptom]:
    try:
        return list({symptom.same: symptom for symptom in check(renders, conversation)}.values())
    except Refusal:  # a part of the conversation, or one with a mark in it, is refused: that is told elsewhere
        return []


def _add(renders: Renders, found: list[Found], name: str, shape: Conversation, check: Check, symptom: Symptom) -> None:
    for known in found:
        if known.symptom.same == symptom.same and contains(shape, known.conversation):
            known.shapes.append(name)
            return

    def shows(candidate: Conversation) -> bool:
        if check is not check_refusal and list(check_refusal(renders, candidate)):
            return False
        return any(other.same == symptom.same for other in _checked(renders, candidate, check))

    smallest = shrink(shape, shows)
    for known in found:
        if known.symptom.same == symptom.same and known.conversation.key == smallest.key:
            known.shapes.append(name)
            return
    shown = next(other for other in _checked(renders, smallest, check) if other.same == symptom.same)
    found.append(Found(renders, check, shown, smallest, [name]))


def cause_of(renders: Renders, fault: Found) -> str:
    """Return the line of the template without which the fault is gone and nothing else is wrong; empty where none is.

    The template with nothing changed still shows it: it is the one that was inspected. Of several lines that one is
    told whose change changes least.
    """
    if fault.symptom.line:
        return renders.line(fault.conversation, fault.symptom.line)
    if fault.symptom.kind is Kind.CLOCK:
        return ""
    wanted = _EDITS.get(fault.symptom.kind)
    others = {symptom.same for _, symptom in symptoms(renders, fault.conversation)} - {fault.symptom.same}
    proven = []
    for change, without in renders.changed(fault.conversation):
        if (wanted is None or change.kind in wanted) and _is_cured(without, fault, others):
            proven.append((_distance(renders, without, fault.conversation), change))
    least = min(proven, key=lambda one: one[0], default=None)
    return least[1].in_words(renders.source(fault.conversation)) if least else ""


def switch_of(renders: Renders, fault: Found) -> str:
    """Return the template's own variable that undoes a fault, with its value; empty where it has none."""
    if fault.symptom.kind not in _SWITCHED:
        return ""
    for name in renders.switches(fault.conversation):
        for value in (True, False):
            variables = {**fault.conversation.variables, name: value}
            other = replace(fault, conversation=replace(fault.conversation, variables=variables))
            if _is_cured(renders, other, set()):
                return f"{name}={value}"
    return ""


def _is_cured(without: Renders, fault: Found, others: set[Any]) -> bool:
    """Whether nothing but what else was wrong is left, and replies are opened where that is asked for, and only there."""
    if any(left.same == fault.symptom.same for left in _checked(without, fault.conversation, fault.check)):
        return False
    parts = [fault.conversation.until(end + 1) for end in range(len(fault.conversation.messages))]
    if writes_reasoning(fault.renders) and not writes_reasoning(without):
        return False
    opened = all(_written(without, part, True) != _written(without, part, False) for part in parts)
    return opened and {symptom.same for _, symptom in symptoms(without, fault.conversation)} <= others


def _distance(renders: Renders, without: Renders, conversation: Conversation) -> int:
    """Return how much more or less is written with a change, over all beginnings of a conversation."""
    return sum(
        abs(len(_written(renders, part, generation)) - len(_written(without, part, generation)))
        for part in map(conversation.until, range(1, len(conversation.messages) + 1))
        for generation in (False, True)
    )


def _written(renders: Renders, conversation: Conversation, generation: bool) -> str:
    try:
        return renders.text(conversation, generation)
    except Refusal:
        return ""


def _facts(renders: Renders, switches: tuple[str, ...]) -> dict[str, Any]:
    plain = SHAPES["answer, new question"].until(1)
    reply = marked_content(SHAPES["answer, new question"].until(2), 1)
    try:
        found = border(renders, SHAPES["answer, new question"].until(2), 1)
        closed = renders.text(reply)
    except Refusal:
        return {"opening": None, "end_token": None, "reasoning": False, "marks": renders.marks, "thinking": {}}
    tail = closed[closed.rfind(MARK) + 1 :] if MARK in closed else ""
    return {
        "opening": found.opening,
        "end_token": end_token(tail, renders.specials),
        "reasoning": writes_reasoning(renders),
        "marks": renders.marks,
        "thinking": {name: state for name in switches if (state := _default(renders, plain, name))},
    }


def _default(renders: Renders, plain: Conversation, name: str) -> str:
    """Return whether thinking is on or off where nobody sets a switch; empty where the switch does nothing."""
    try:
        asked = [
            renders.text(Conversation(plain.messages, False, variables), True)
            for variables in ({}, {name: True}, {name: False})
        ]
    except Refusal:
        return ""
    default, on, off = asked
    return "" if on == off else "on" if default == on else "off" if default == off else "neither"


def _rendered(renders: Renders, conversation: Conversation) -> str:
    try:
        return renders.text(conversation, conversation.messages[-1]["role"] != "assistant")
    except Refusal as refusal:
        return f"refused: {refusal}"


def _borders(renders: Renders, conversation: Conversation) -> list[list[str]]:
    """Return the pairs of texts of which the second begins with the first."""
    pairs: list[list[str]] = []
    for at in conversation.replies:
        try:
            found = border(renders, conversation, at)
        except Refusal:
            continue
        if found.closed.startswith(found.prompt):
            pairs.append([found.prompt, found.closed])
        if found.following is not None and found.following.startswith(found.closed):
            pairs.append([found.closed, found.following])
    return pairs


def _told(fault: Found) -> dict[str, Any]:
    symptom = fault.symptom
    return {
        "kind": symptom.kind.value,
        "word": symptom.word,
        "before": symptom.before[:SHOWN],
        "after": symptom.after[:SHOWN],
        "conversation": fault.conversation.to_dict(),
        "shapes": fault.shapes,
        "cause": fault.cause,
        "switch": fault.switch,
    }
