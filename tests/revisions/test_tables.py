"""Verdicts are drawn from data: from all entries of a table, by name, and never from text that was made for people."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.embedded import tokenizer_path
from chatlab.revisions import findings, rules
from chatlab.revisions.compare import compare_snapshots
from chatlab.revisions.differences.tables import changed_scores, vocabulary_diff
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.wording import renumbered
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import take
from tests.support.injections import copy_of, edit

TEXT_METHODS = {"split", "rsplit", "partition", "rpartition", "startswith", "endswith", "format", "strip", "join"}


@pytest.mark.parametrize("module", [rules, findings])
def test_no_rule_reads_a_formatted_string(module):
    """Nor makes one: words come after the ruling, in another file."""
    tree = ast.parse(inspect.getsource(module))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name and ("wording" in name or "report" in name or "sections" in name)}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    assert not called & TEXT_METHODS


def comparison_of(tmp_path, first, second):
    folders = []
    for name, change in (("before", first), ("after", second)):
        folder = copy_of("byte-bpe", tmp_path / name)
        if change:
            change(folder)
        folders.append(take(folder, ["raw"], cache=False))
    return compare_snapshots(*folders)


@pytest.mark.parametrize(("unused_len", "real_len"), [(5, 1), (20, 20), (40, 1), (0, 3)])
def test_real_pieces_renamed_behind_unused_ones_are_no_minor_change(tmp_path, unused_len, real_len):
    """However many placeholders stand before them in the table."""

    def placeholders(value):
        vocab = value["model"]["vocab"]
        vocab.update({f"<unused{n}>": len(vocab) + n for n in range(unused_len)})

    def both(value):
        placeholders(value)
        vocab = value["model"]["vocab"]
        last = max(vocab.values())
        vocab.update({f"real{n}": last + 1 + n for n in range(real_len)})

    def changed(value):
        both(value)
        vocab = value["model"]["vocab"]
        for n in range(unused_len):
            vocab[f"<unused{n + 100}>"] = vocab.pop(f"<unused{n}>")
        for n in range(real_len):
            vocab[f"another{n}"] = vocab.pop(f"real{n}")

    c = comparison_of(tmp_path, edit("tokenizer.json", both), edit("tokenizer.json", changed))
    assert c.kinds[0] is ChangeKind.VOCABULARY
    assert c.severity is Severity.MAJOR
    assert c.vocabulary.added_len == len(c.vocabulary.added) == unused_len + real_len


def test_unused_names_alone_are_minor(tmp_path):
    def with_names(first):
        def change(value):
            vocab = value["model"]["vocab"]
            size = len(vocab)
            vocab.update({f"<unused{first + n}>": size + n for n in range(30)})

        return edit("tokenizer.json", change)

    c = comparison_of(tmp_path, with_names(0), with_names(100))
    assert (c.kinds, c.severity) == ((ChangeKind.VOCABULARY,), Severity.MINOR)


@given(st.integers(1, 60), st.integers(1, 9))
def test_pieces_are_renumbered_by_one_offset_only_where_all_are(moved_len, by):
    size = 60
    before = {f"p{n}": n for n in range(size)}
    after = {piece: n + 1000 if n < moved_len else n + 1000 + by for piece, n in before.items()}
    told = renumbered(vocabulary_diff(before, after))
    assert told is not None
    assert ("by +1000" in told) == (moved_len == size)


scores = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(-3, 0).map(float), max_size=8)


@given(scores, scores)
def test_scores_are_compared_by_piece(before, after):
    """Pieces put in front move the places of all others, and no score."""
    changed = changed_scores(before, {"<new>": 0.0, **after})
    assert set(changed) == {piece for piece in before.keys() & after.keys() if before[piece] != after[piece]}


def test_pieces_put_in_front_of_a_unigram_change_no_scores(tmp_path):
    folder = copy_of("unigram", tmp_path / "front")

    def in_front(value):
        value["model"]["vocab"][0:0] = [[f"<new{n}>", 0.0] for n in range(5)]
        value["model"]["unk_id"] += 5
        for token in value["added_tokens"]:
            token["id"] += 5

    edit("tokenizer.json", in_front)(folder)
    c = compare_snapshots(take(tokenizer_path("unigram"), ["raw"]), take(folder, ["raw"], cache=False))
    assert c.kinds[0] is ChangeKind.VOCABULARY
    assert "renumbered by +5" in c.verdict
    assert not [change for change in c.changes if change.path == "model/scores"]
    assert not any("scores" in line for finding in c.findings for line in finding.evidence)
