"""28 published templates: how many lose what, counted twice, by the audit and by renders of transformers' own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import chatlab
from chatlab.turns.audit.audit import TemplateAudit
from chatlab.turns.audit.kinds import Kind
from tests.support.own_renders import SHOWN, Messages, is_kept, is_shown, render, replies

pytestmark = pytest.mark.real

BORDERS = (
    *(Kind.REASONING_DROPPED, Kind.THINK_BLOCK_DROPPED, Kind.HISTORY_REWRITTEN, Kind.REPLY_REWRITTEN),
    *(Kind.OPENING_DIFFERS, Kind.OPENING_UNASKED, Kind.END_DIFFERS, Kind.END_ONLY_LAST, Kind.END_MISSING),
)
"""Kinds by which a prompt does not begin as the one before it."""
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "dummy", "arguments": {}}}]}  # fmt: skip
DUMMY = ({"role": "user", "content": "dummy"}, CALL, {"role": "tool", "name": "dummy", "content": "dummy"})
"""TRL's own conversation."""
USER, ANSWER = {"role": "user", "content": "Ping"}, {"role": "assistant", "content": "Pong"}
FOUND = {"role": "tool", "name": "dummy", "content": "Found"}


@pytest.fixture(scope="module")
def templates(real: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((real / "templates" / "published.json").read_text())["templates"]
    assert len(found) == 28
    return found


@pytest.fixture(scope="module")
def audits(templates: dict[str, str]) -> dict[str, TemplateAudit]:
    return {name: chatlab.audit_template(text) for name, text in templates.items()}


def trl_keeps(template: str) -> bool | None:
    """What TRL's own check says: the closed call begins the prompt with its result; ``None`` where it is refused."""
    try:
        return render(template, DUMMY, True).startswith(render(template, DUMMY[:2], False))
    except Exception:  # a template raises anything
        return None


def shapes(name: str) -> list[Messages]:
    """The other shapes; the reasoning under one name, as a program would give it."""
    answer, call = {**ANSWER, name: "Hmm"}, {**CALL, name: "Hmm"}
    return [
        (USER, ANSWER, USER), (USER, answer, USER), (USER, CALL, FOUND), (USER, call, FOUND),
        (USER, call, FOUND, ANSWER, USER), (USER, call, FOUND, answer, USER),
    ]  # fmt: skip


def breaks(template: str, name: str) -> bool:
    def write(messages: Messages, opened: bool) -> str:
        return render(template, messages, opened) if name != "reasoning_content" else bare(template, messages, opened)

    return any(not _kept(write, messages, at) for messages in shapes(name) for at in replies(messages))


def bare(template: str, messages: Messages, opened: bool) -> str:
    """A render in which reasoning has no other name than the one it was given."""
    import copy

    from tests.support.own_renders import SPECIALS, compiled

    given = copy.deepcopy(list(messages))
    return compiled(template).render(
        messages=given, tools=None, documents=None, add_generation_prompt=opened, **SPECIALS
    )


def _kept(write, messages: Messages, at: int) -> bool:
    try:
        return is_kept(write, messages, at)
    except Exception:  # refused: nothing is lost
        return True


def test_trls_own_conversation_is_kept_by_nineteen(templates: dict[str, str]) -> None:
    assert Counter(map(trl_keeps, templates.values())) == {True: 19, None: 6, False: 3}


def test_of_these_nine_break_elsewhere_and_ten_where_reasoning_has_the_name_they_read(
    templates: dict[str, str],
) -> None:
    """Nine with ``reasoning_content`` alone; LFM2.5 reads ``thinking``, which transformers 5 gives beside it."""
    kept = {name: text for name, text in templates.items() if trl_keeps(text)}
    nine = {name for name, text in kept.items() if breaks(text, "reasoning_content")}
    ten = nine | {name for name, text in kept.items() if breaks(text, "thinking")}
    assert len(nine) == 9
    assert ten - nine == {"lfm2_2_5"}


def test_the_audit_names_the_same_ten_and_one_of_a_shape_of_its_own(
    templates: dict[str, str], audits: dict[str, TemplateAudit]
) -> None:
    kept = [name for name, text in templates.items() if trl_keeps(text)]
    named = {name for name in kept if {found.kind for found in audits[name].findings} & set(BORDERS)}
    ten = {name for name in kept if breaks(templates[name], "reasoning_content") or breaks(templates[name], "thinking")}
    assert named == ten | {"cohere2"}  # a system message that comes later goes to the front
    moved = [found for found in audits["cohere2"].findings if found.kind in BORDERS]
    assert [found.shapes for found in moved] == [("system later",)]
    lost = {name for name in audits if trl_keeps(templates[name]) is False}
    assert all({found.kind for found in audits[name].findings} & set(BORDERS) for name in lost)


def shown_by(audits: dict[str, TemplateAudit], kind: Kind, shape: str, word: str | None = None) -> set[str]:
    return {
        name
        for name, audit in audits.items()
        for found in audit.findings
        if found.kind is kind and shape in found.shapes and word in (None, found.word)
    }


def test_replies_are_trimmed_in_fifteen(templates: dict[str, str], audits: dict[str, TemplateAudit]) -> None:
    blanks = (USER, {"role": "assistant", "content": " \n Pong \n "}, USER)
    counted = set()
    for name, text in templates.items():
        try:
            counted |= set() if " \n Pong \n " in render(text, blanks, True) else {name}
        except Exception:  # one refuses plain text
            assert name == "llava_next"
    assert len(counted) == 15
    assert shown_by(audits, Kind.REPLY_TRIMMED, "blanks around the answer") == counted


def test_calls_are_dropped_in_six_refused_in_six_and_spelled_as_python_in_six(audits: dict[str, TemplateAudit]) -> None:
    dropped = shown_by(audits, Kind.CALL_DROPPED, "call, result")
    refused = shown_by(audits, Kind.REFUSED, "call, result")
    python = shown_by(audits, Kind.CALL_CHANGED, "arguments", "Python's words")
    assert dropped == {"cohere2", "lfm2", "llama3", "phi3", "phi3_5", "qwen2_5_vl"}
    assert refused == {"cohere", "deepseekv3", "gemma", "gemma3", "idefics3", "llava_next"}
    assert python == {"lfm2_2_5", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "qwen3_5_nothink", "qwen3_5_think"}  # fmt: skip


def test_every_finding_is_shown_by_its_smallest_conversation(
    templates: dict[str, str], audits: dict[str, TemplateAudit]
) -> None:
    """Law L4, by transformers' own environment: no break is without a kind, and no kind without what shows it."""
    for name, audit in audits.items():
        for found in audit.findings:
            if found.kind in SHOWN:
                assert is_shown(templates[name], found), (name, found)


def test_what_breaks_at_text_level_has_a_kind(audits: dict[str, TemplateAudit]) -> None:
    causes = Counter(
        bool(found.cause) for audit in audits.values() for found in audit.findings if found.kind in BORDERS
    )
    assert causes[True] > 3 * causes[False]


def test_one_template_loses_nothing(audits: dict[str, TemplateAudit]) -> None:
    assert not audits["qwen3_instruct_2507"].findings


def test_the_real_phi_3(real: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    before, after = (chatlab.audit_template(real / "phi-3" / side) for side in ("before", "after"))
    assert {Kind.CALL_DROPPED, Kind.READINGS_DISAGREE} <= {found.kind for found in before.findings}
    assert Kind.END_ONLY_LAST in {found.kind for found in after.findings} - {found.kind for found in before.findings}
