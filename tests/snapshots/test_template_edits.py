"""Whatever a vendor edits in a published chat template, some probe renders otherwise, or the record says none gets there."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest

from chatlab.snapshots import recorder
from chatlab.snapshots.corpus import probe_corpus
from tests.support.template_edits import KINDS, TemplateEdit, edits, reached_mark

pytestmark = pytest.mark.real

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
LOOSE = {"drop a trim", "drop a line break", "drop an output", "drop a tag", "misspell a tag", "drop a tool wrapper"}
"""Kinds that also meet what has no effect: a second trim, a word that a template only looks for."""
SAME = {
    ("gemma", "rename a role"): "the roles have to alternate besides, so a system text is refused as before",
    ("cohere", "raise on a system text"): "a first one is taken out before, a later one is refused: roles alternate",
    ("gemma3", "raise on a system text"): "a first one is taken out before, a later one is refused: roles alternate",
    (
        "deepseekv3",
        "strip a thought",
    ): "every text holds the empty one, and splitting what has no thought changes nothing",
    ("nemotron_3_nano", "rename a role"): "the last question is looked for twice, and the first search is thrown away",
    ("nemotron_3_super", "rename a role"): "the last question is looked for twice, and the first search is thrown away",
    ("nemotron_3_ultra", "rename a role"): "the last question is looked for twice, and the first search is thrown away",
    ("nemotron_3_nano", "strip a thought"): "a thought is closed by the template before it is looked for",
    ("nemotron_3_super", "strip a thought"): "a thought is closed by the template before it is looked for",
    ("nemotron_3_ultra", "strip a thought"): "a thought is closed by the template before it is looked for",
}
"""Edits without any effect, whatever is rendered."""


@lru_cache(maxsize=1)
def asked() -> list[dict[str, Any]]:
    """What each render of the corpus gets."""
    rows = []
    for _, dialogue, generation in recorder.chat_items(probe_corpus()):
        messages, tools, more = recorder._asked(probe_corpus(), dialogue, "<|im_end|>")
        messages = [recorder.given(message) for message in messages]
        fixed = {"bos_token": "<s>", "eos_token": "</s>", "documents": None, "tools": tools, "messages": messages}
        rows.append({**fixed, **more, "add_generation_prompt": generation})
    return rows


def renders(template: str) -> Iterator[str | None]:
    """Each render, ``None`` where the template refuses: refusals are equal, whatever they say."""
    try:
        compiled = recorder.jinja_environment().from_string(template)
    except Exception:
        compiled = None
    for values in asked():
        try:
            yield compiled.render(**values) if compiled else None
        except Exception:
            yield None


def differs(before: list[str | None], template: str) -> bool:
    return any(old != new for old, new in zip(before, renders(template), strict=True))


def refused_anyway(edit: TemplateEdit, before: list[str | None]) -> bool:
    role = {"raise on a tool": "tool", "raise on a developer": "developer", "raise on a system text": "system"}.get(
        edit.kind
    )
    return role is not None and all(
        text is None
        for text, values in zip(before, asked(), strict=True)
        if role in {message["role"] for message in values["messages"]}
    )


def chosen(number: int, template: str) -> list[TemplateEdit]:
    """All edits in a soak; else one of each third kind, so that the templates share the kinds among them."""
    found = edits(template)
    if SOAK:
        return found
    kinds = [kind for place, kind in enumerate(KINDS) if (place + number) % 3 == 0]
    fitting = [[edit for edit in found if edit.kind == kind] for kind in kinds]
    return [random.Random(number).choice(several) for several in fitting if several]


def test_each_edit_is_seen_or_its_place_is_known_to_be_unreached(real):
    """The score: of the edits that some render comes by, how many change one."""
    templates = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    counts, missed = Counter[str](), []
    for number, (name, template) in enumerate(sorted(templates.items())):
        before = list(renders(template))
        for edit in chosen(number, template):
            counts["all"] += 1
            mark = reached_mark(edit, template)
            if differs(before, edit.apply(template)):
                counts["seen"] += 1
            elif mark is not None and not differs(before, mark):
                counts["unreached"] += 1
                assert unreached(template), (
                    f"{name}: {edit.kind} is where no probe gets, and the record does not say so"
                )
            elif not (refused_anyway(edit, before) or (name, edit.kind) in SAME):
                missed.append((name, edit))
    strict = [f"{name}: {edit.kind} {edit.old!r}" for name, edit in missed if edit.kind not in LOOSE]
    print(f"\n{dict(counts)}, seen of those reached: {counts['seen'] / (counts['all'] - counts['unreached']):.3f}")
    assert strict == []
    assert counts["all"] > 150
    assert counts["unreached"] < 0.12 * counts["all"]
    assert counts["seen"] >= 0.95 * (counts["all"] - counts["unreached"])


def unreached(template: str) -> list[dict[str, Any]]:
    """What the recorder says of a template, computed by another way than the mark."""
    watched = recorder.Watched(template)
    for values in asked():
        try:
            watched.render(values)
        except Exception:
            continue
    return watched.unreached(watched.reached)


def test_a_comment_changes_no_render(real):
    templates = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    template = templates["qwen3"]
    assert not differs(list(renders(template)), template + "{# <|im_start|> -#}")


def test_there_are_at_least_a_dozen_kinds_and_each_fits_somewhere(real):
    templates = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    fitting = {edit.kind for template in templates.values() for edit in edits(template)}
    assert fitting == KINDS.keys()
    assert len(KINDS) >= 20
