"""What lies beside a template: stop ids of every file, the BOS, two readings of the same files, and ids over borders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatlab.child.call import in_child
from chatlab.errors import ChatlabError
from chatlab.snapshots.stops import STOP_FILES, stop_id_table, stop_ids
from chatlab.snapshots.views import LoaderView, Record, loader_view
from chatlab.turns.audit.conversation import Conversation, shapes_for
from chatlab.turns.audit.finding import TemplateFacts, TemplateFinding, finding
from chatlab.turns.audit.inspect import borders
from chatlab.turns.audit.kinds import Kind
from chatlab.turns.audit.places import shared_len
from chatlab.turns.audit.reading import AuditSource
from chatlab.turns.audit.shrink import shrink


def file_findings(source: AuditSource, facts: TemplateFacts, prompt: str) -> Iterator[TemplateFinding]:
    """Yield what the files and the tokenizer say otherwise than the template."""
    if source.record is not None:
        loaded = [name for name in source.record["loaders"] if "error" not in source.record["views"][name]]
        if loaded:
            yield from _stops(source.record, loader_view(source.record, loaded[0]), facts)
        if {"auto", "raw"} <= set(loaded):
            yield from _readings(loader_view(source.record, "auto"), loader_view(source.record, "raw"))
    elif source.encode is not None and facts.end_token not in (None, source.specials.get("eos_token")):
        told = f"the tokenizer's eos_token is {source.specials.get('eos_token')!r}"
        yield finding(Kind.STOPS_DISAGREE, "eos_token", before=str(facts.end_token), after=told)
    if source.encode is not None:
        yield from _bos(source, prompt)


def _stops(record: Record, view: LoaderView, facts: TemplateFacts) -> Iterator[TemplateFinding]:
    token = view.added_tokens.get(facts.end_token or "")
    number = token.token_id if token else (view.components.vocabulary or {}).get(facts.end_token or "")
    if number is None:
        return
    table = stop_id_table(record, view)
    decides = next((name for name in STOP_FILES if name in table), None)  # without them nobody knows where it stops
    if decides is not None and number not in stop_ids(record, view):
        yield finding(
            Kind.END_NO_STOP,
            decides,
            before=f"{facts.end_token} is {number}",
            after=f"stops at {list(stop_ids(record, view))}",
        )
    for name, ids in table.items():
        if number not in ids and name != decides:
            yield finding(
                Kind.STOPS_DISAGREE, name, before=f"{facts.end_token} is {number}", after=f"{name} says {list(ids)}"
            )


def _readings(auto: LoaderView, raw: LoaderView) -> Iterator[TemplateFinding]:
    both = [(chat, raw.chats[label]) for label, chat in auto.chats.items() if label in raw.chats]
    for one, other in both:
        if one.text == other.text and one.ids != other.ids:
            sides = [repr(list(chat.ids or ())[:12]) for chat in (one, other)]
            yield finding(Kind.READINGS_DISAGREE, before=f"{one.text[:80]!r}: {sides[0]}", after=sides[1])
            return


def _bos(source: AuditSource, prompt: str) -> Iterator[TemplateFinding]:
    assert source.encode is not None
    bos = source.specials.get("bos_token")
    if not bos:
        return
    alone, plain, added = source.encode(bos), source.encode(prompt), source.encode(prompt, add_special_tokens=True)
    if len(alone) != 1:
        return
    counts = [_leading(ids, alone[0]) for ids in (plain, added)]
    if counts[0] == 0 and counts[1] > 0:
        yield finding(Kind.BOS_MISSING, before=bos, after=prompt[:40])
    elif counts[0] == 1 and counts[1] > 1:
        yield finding(Kind.BOS_ADDED, before=bos, after=prompt[:40])


def _leading(ids: Sequence[int], token_id: int) -> int:
    return next((at for at, found in enumerate(ids) if found != token_id), len(ids))


def id_findings(source: AuditSource, told: Mapping[str, Any], switches: tuple[str, ...]) -> Iterator[TemplateFinding]:
    """Yield borders whose text is kept and whose ids are not, with the smallest conversation that shows one."""
    if source.encode is None:
        return
    shapes, seen = shapes_for(switches), list[str]()
    smallest: Conversation | None = None
    for name, pairs in told.items():
        if any(_loses_ids(source, *pair) for pair in pairs):
            smallest = smallest or shrink(shapes[name], lambda one: _shows(source, one))
            seen.append(name)
    if smallest is not None:
        yield _lost_ids(source, smallest, seen)


def _lost_ids(source: AuditSource, smallest: Conversation, seen: Sequence[str]) -> TemplateFinding:
    pair = next(pair for pair in _pairs(source, smallest) if _loses_ids(source, *pair))
    assert source.encode is not None
    ids = [source.encode(text) for text in pair]
    at = next((n for n, (one, two) in enumerate(zip(*ids, strict=False)) if one != two), min(map(len, ids)))
    return finding(
        Kind.IDS_LOST,
        messages=smallest.messages,
        tools=smallest.tools,
        variables=smallest.variables,
        shapes=tuple(seen),
        before=f"…{pair[0][-30:]!r}: ids {ids[0][at : at + 8]}",
        after=f"…{pair[1][max(0, shared_len(*pair) - 30) :][:60]!r}: ids {ids[1][at : at + 8]}",
        cause=f"from id {at} of {len(ids[0])} on the tokenizer joins or splits the text otherwise when more follows",
    )


def _shows(source: AuditSource, conversation: Conversation) -> bool:
    return any(_loses_ids(source, *pair) for pair in _pairs(source, conversation))


def _pairs(source: AuditSource, conversation: Conversation) -> list[list[str]]:
    argument = {**source.argument, "conversations": [conversation.to_dict()]}
    try:
        found: list[list[list[str]]] = in_child(borders, argument, source.name, source.limits)
    except ChatlabError:
        return []
    return found[0]


def _loses_ids(source: AuditSource, short: str, long: str) -> bool:
    assert source.encode is not None
    ids = source.encode(short)
    return source.encode(long)[: len(ids)] != ids
