"""Every kind of change, injected alone, is found and called by its right name; a change of bytes alone is none."""

from __future__ import annotations

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.revisions.compare import compare_snapshots
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from chatlab.snapshots import recorder
from chatlab.snapshots.snapshot import snapshot, take
from tests.support.injections import BASES, MAKERS, Injection, byte_only, copy_of, injections
from tests.support.sample import sample

ALL = list(injections())
BYTES = list(byte_only())


@pytest.fixture(scope="module")
def originals():
    return {base: snapshot(tokenizer_path(base), "auto", cache=False) for base in BASES}


def compared(case: Injection, originals, tmp_path):
    folder = copy_of(case.base, tmp_path / "copy")
    case.apply(folder)
    return compare_snapshots(originals[case.base], take(folder, ["auto"], cache=False))


def test_the_injections_cover_every_kind_but_the_library_which_is_no_file():
    assert set(MAKERS) == set(ChangeKind) - {ChangeKind.LIBRARY}
    assert len(ALL) >= 500
    assert {c.kind for c in sample(ALL, 240)} == set(MAKERS)
    assert len(sample(ALL, 240)) >= 300
    assert len(sample(BYTES, 100)) >= 100


@pytest.mark.parametrize("case", sample(ALL, 240), ids=lambda c: c.label)
def test_an_injected_change_is_found_and_called_by_its_kind(case, originals, tmp_path):
    comparison = compared(case, originals, tmp_path)
    assert comparison.severity > Severity.NONE
    assert comparison.kinds[0] is case.kind


@pytest.mark.parametrize("case", sample(BYTES, 100), ids=lambda c: c.label)
def test_a_change_of_bytes_alone_is_no_alarm(case, originals, tmp_path):
    comparison = compared(case, originals, tmp_path)
    assert comparison.severity <= Severity.INFO
    assert not comparison.probes
    assert comparison.exit_code == 0


class Moved:
    """A library that moved: other versions, and one habit changed."""

    def __init__(self, habit: str) -> None:
        self.habit = habit

    def __call__(self, patch: pytest.MonkeyPatch) -> None:
        versions = {**recorder.library_versions(), "transformers": "6.0.0"}
        patch.setattr(recorder, "library_versions", lambda: versions)
        # The habit is changed in this process, and a child would have the library as it is.
        patch.setattr(
            "chatlab.snapshots.snapshot.in_child", lambda function, argument, what, limits: function(argument)
        )
        cls = recorder._Transformers
        if self.habit == "strips":
            old = cls.encode
            patch.setattr(cls, "encode_many", lambda self, texts: [old(self, t.strip()) for t in texts])
            patch.setattr(cls, "encode", lambda self, text, **kw: old(self, text.strip(), **kw))
        elif self.habit == "cleans-up":
            old_decode = cls.decode
            patch.setattr(cls, "decode", lambda self, ids, skip: old_decode(self, ids, skip).replace(" .", "."))
        elif self.habit == "renders":
            old_render = cls.render
            patch.setattr(cls, "render", lambda self, *a: (old_render(self, *a) or "") + "\n")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("habit", ["none", "strips", "cleans-up", "renders"])
def test_a_library_that_moved_under_equal_files_is_told_as_the_library(base, habit, originals, monkeypatch):
    Moved(habit)(monkeypatch)
    comparison = compare_snapshots(originals[base], snapshot(tokenizer_path(base), "auto", cache=False))
    assert comparison.kinds == (ChangeKind.LIBRARY,)
    touched = bool(comparison.probes) or any(not r.same for r in comparison.renders)
    expected = Severity.BREAKING if habit == "strips" and base not in ("unigram", "wordpiece") else None
    assert comparison.severity is Severity.INFO if not touched else comparison.severity >= Severity.MAJOR
    assert expected is None or comparison.severity is expected
    assert touched or habit != "strips" or base in ("unigram", "wordpiece")
