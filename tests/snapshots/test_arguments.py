"""Wrong types: named before any work, and never read as something else."""

from __future__ import annotations

from typing import Any

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError
from chatlab.history.bisection import bisect_revisions
from chatlab.history.environments import compare_versions
from chatlab.locks.lock import lock
from chatlab.revisions import compare
from chatlab.revisions.compare import compare_revisions
from chatlab.snapshots.arguments import texts
from chatlab.snapshots.snapshot import snapshot

TOKENIZER = tokenizer_path("byte-bpe")


@pytest.mark.parametrize("prompts", ["ab", "", 5, None, [1], ["a", None], {"a": 1}, b"ab"])
def test_prompts_that_are_no_list_of_strings_are_refused_everywhere(prompts: Any, tmp_path) -> None:
    """A bare string would be probed letter by letter, and its verdict be about nothing that was asked."""
    for call in (
        lambda: compare_revisions(TOKENIZER, TOKENIZER, prompts=prompts),
        lambda: snapshot(TOKENIZER, prompts=prompts),
        lambda: compare_versions(TOKENIZER, ["4.46.3"], prompts=prompts),
        lambda: bisect_revisions(TOKENIZER, "a", "b", prompts=prompts),
        lambda: lock("a", TOKENIZER, path=tmp_path / "chatlab.lock", prompts=prompts),
    ):
        with pytest.raises(ChatlabError, match="^prompts is "):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("before", lambda: compare_revisions(None, 5)),
        ("after", lambda: compare_revisions(TOKENIZER, 5)),
        ("options", lambda: compare_revisions(TOKENIZER, TOKENIZER, options="legacy")),
        ("source", lambda: compare_versions(None, ["4.46.3"])),
        ("versions", lambda: compare_versions(TOKENIZER, "4.46.3")),
        ("versions", lambda: compare_versions(TOKENIZER, [4.46])),
        ("source", lambda: bisect_revisions(None, "a", "b")),
        ("before and after", lambda: bisect_revisions(TOKENIZER, 1, "b")),
        ("the source", lambda: snapshot(None)),
        ("revision", lambda: snapshot(TOKENIZER, revision=5)),
        ("loader", lambda: snapshot(TOKENIZER, 5)),
        ("also", lambda: snapshot(TOKENIZER, also="<s>")),
    ],
)
def test_a_wrong_type_is_an_error_that_names_the_argument(name: str, call: Any) -> None:
    with pytest.raises(ChatlabError, match=f"^{name} is "):
        call()


def test_any_iterable_of_strings_is_a_list_of_prompts(monkeypatch) -> None:
    """A generator is read once, though both sides are probed with it."""
    monkeypatch.setattr(compare, "take", lambda source, *a, prompts, **k: (_ for _ in ()).throw(KeyError(*prompts)))
    with pytest.raises(KeyError) as raised:
        compare_revisions(TOKENIZER, TOKENIZER, prompts=(text for text in ("a", "b")))
    assert raised.value.args == ("a", "b")
    assert texts("prompts", ("a",)) == ["a"]
