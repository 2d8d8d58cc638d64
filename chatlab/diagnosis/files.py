"""What the files say: the chat template, the loaders, the pin, and what ends a reply."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chatlab.diagnosis.answer import Answer, Question, not_known
from chatlab.diagnosis.case import Case
from chatlab.errors import ChatlabError
from chatlab.render import one_line
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import Snapshot, snapshot
from chatlab.snapshots.stops import stop_id_table, stop_ids
from chatlab.snapshots.views import LoaderView, loader_view
from chatlab.turns.audit.audit import TemplateAudit, audit_template
from chatlab.turns.audit.finding import TemplateFinding
from chatlab.turns.audit.kinds import Kind

_STOP_KINDS = (Kind.END_NO_STOP, Kind.STOPS_DISAGREE)


def file_answers(case: Case) -> Iterator[Answer]:
    """Answer what the files alone tell: template, loaders, pin, stops."""
    audit: TemplateAudit | ChatlabError
    try:
        audit = audit_template(case.source.folder if case.source else (case.reader.wrapped or case.reader))
    except ChatlabError as error:
        audit = error
    yield template_answer(case, audit)
    taken = _taken(case)
    yield not_known(Question.LOADERS, taken) if isinstance(taken, str) else loaders_answer(case, taken)
    yield pin_answer(case)
    yield not_known(Question.STOPS, taken) if isinstance(taken, str) else stops_answer(case, taken, audit)


def _taken(case: Case) -> Snapshot | str:
    """Return the snapshot of the files, or why there is none."""
    if case.source is None:
        return "the tokenizer came as an object, without its files: give its folder"
    try:
        return snapshot(case.source.folder)
    except ChatlabError as error:
        return str(error)


def template_answer(case: Case, audit: TemplateAudit | ChatlabError) -> Answer:
    """Answer what the chat template loses of conversations, and for whom."""
    if isinstance(audit, ChatlabError):
        return not_known(Question.TEMPLATE, audit)
    findings = [found for found in audit.findings if found.kind not in _STOP_KINDS]
    serious = [found for found in findings if found.severity > Severity.INFO]
    if not serious:
        told = f"Yes: nothing is lost of {len(audit.renders)} shapes of conversation."
        return Answer(question=Question.TEMPLATE, severity=Severity.NONE, told=told)
    worst = serious[0]
    more = f", and {len(serious) - 1} more findings" if len(serious) > 1 else ""
    hurt = ", ".join(dict.fromkeys(str(consumer) for found in serious for consumer in found.hurts))
    return Answer(
        question=Question.TEMPLATE,
        severity=worst.severity,
        told=f"Not for everybody: {worst.told}{more}. Who is hurt: {hurt or 'nobody'}.",
        example=json.dumps(list(worst.messages), ensure_ascii=False) if worst.messages else _change(worst),
        cause=worst.cause,
        cure=worst.cure,
        fix=("# all findings, each with its smallest conversation:", f"chatlab audit {case.place}"),
    )


def _change(found: TemplateFinding) -> str:
    return f"{one_line(found.before)} becomes {one_line(found.after)}" if found.before or found.after else ""


def loaders_answer(case: Case, taken: Snapshot) -> Answer:
    """Answer whether every library reads the same ids from the files."""
    loaded = [name for name in taken.loaders if taken.loads(name)]
    failed = [name for name in taken.loaders if name not in loaded]
    if len(loaded) < 2:
        return not_known(
            Question.LOADERS, f"only {', '.join(loaded) or 'none'} of {', '.join(taken.loaders)} loads them"
        )
    first, *others = loaded
    for other in others:
        differing = list(_differing(taken.view(first), taken.view(other)))
        if differing:
            label, text, one, two = differing[0]
            return Answer(
                question=Question.LOADERS,
                severity=Severity.MAJOR,
                told=f"No: {first} and {other} read {len(differing)} of the probes otherwise.",
                example=f"{label} {one_line(text[:80])}: {first} {one[:12]}, {other} {two[:12]}",
                cause="the files say it twice, and each library heeds another of them",
                cure=f"load it everywhere with {first}, or make the files agree",
                fix=(f"tokenizer = load_tokenizer({case.place!r}, loader={first!r})  # and so in every program",),
            )
    beside = f" ({', '.join(failed)} does not load them)" if failed else ""
    told = f"Yes: {' and '.join(loaded)} read every probe alike{beside}."
    return Answer(question=Question.LOADERS, severity=Severity.NONE, told=told)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, str, list[int], list[int]]]:
    probes, others = one.get("probes", {}), other.get("probes", {})
    for label in sorted(set(probes) & set(others), key=lambda name: len(probes[name]["text"])):
        ids, other_ids = probes[label].get("ids"), others[label].get("ids")
        if ids is not None and other_ids is not None and ids != other_ids:
            yield label, probes[label]["text"], ids, other_ids


def pin_answer(case: Case) -> Answer:
    """Answer whether the same call gives the same files tomorrow."""
    source = case.source
    if source is None:
        return not_known(Question.PIN, "the tokenizer came as an object, without its files")
    if source.repo_id is None and source.revision is None:
        told = "It is a folder on this machine: it changes only when somebody changes it; a lock would tell."
        return Answer(question=Question.PIN, severity=Severity.INFO, told=told, fix=_lock_lines(case.place))
    if source.pinned:
        return Answer(question=Question.PIN, severity=Severity.NONE, told=f"Yes, to {source.revision}.")
    return Answer(
        question=Question.PIN,
        severity=Severity.MINOR,
        told=f"No: {source.requested or 'main'} is {source.revision} today, and whoever can write there moves it.",
        cause="a branch or tag is no pin",
        cure="load the commit, and check it in CI",
        fix=(case.load_line, *_lock_lines(f"{case.place}@{source.revision}")),
    )


def _lock_lines(name: str) -> tuple[str, ...]:
    return (f"# chatlab lock my-model {name}", "# chatlab check")


def stops_answer(case: Case, taken: Snapshot, audit: TemplateAudit | ChatlabError) -> Answer:
    """Answer which ids end a reply, according to whom, and whether the template's end of turn is among them."""
    view: LoaderView = loader_view(taken.record, next(name for name in taken.loaders if taken.loads(name)))
    ids, table = stop_ids(taken.record, view), stop_id_table(taken.record, view)
    pieces = ", ".join(f"{number} {case.reader.piece(number)}" for number in ids if isinstance(number, int))
    findings = [] if isinstance(audit, ChatlabError) else [f for f in audit.findings if f.kind in _STOP_KINDS]
    if findings:
        worst = findings[0]
        return Answer(
            question=Question.STOPS,
            severity=worst.severity,
            told=f"{pieces or 'Nothing'}, and not everybody agrees: {worst.told}.",
            example=_change(worst),
            cause=worst.cause,
            cure=worst.cure,
            fix=(f"stream(prompt, engine, stop=[{_end_token(audit)!r}])  # until the files agree",),
        )
    if not ids:
        told = "Nothing that the files name: a reply ends where max_new_tokens does."
        return Answer(question=Question.STOPS, severity=Severity.MINOR, told=told, cure="name the stop id or string")
    said = f" ({', '.join(sorted(table))})" if table else ""
    return Answer(question=Question.STOPS, severity=Severity.NONE, told=f"{pieces}, and every file agrees{said}.")


def _end_token(audit: TemplateAudit | ChatlabError) -> str | None:
    return None if isinstance(audit, ChatlabError) else audit.facts.end_token
