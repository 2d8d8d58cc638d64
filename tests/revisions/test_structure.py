"""Structural differences: complete, and as small as the change."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from chatlab.revisions.differences.tables import merges_diff, vocabulary_diff
from chatlab.revisions.structure import ABSENT, differences

leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2)
values = st.recursive(
    leaves,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text("xyz", min_size=1, max_size=1), v, max_size=3),
    max_leaves=12,
)


@given(values)
def test_a_value_differs_in_nothing_from_its_copy(value):
    assert list(differences(value, copy.deepcopy(value))) == []


@given(values, values)
def test_different_values_have_a_difference(before, after):
    equal = repr_typed(before) == repr_typed(after)
    assert (list(differences(before, after)) == []) == equal


@given(values, values)
def test_a_difference_seen_from_the_other_side_is_the_same_difference(before, after):
    there = [(x, y) for _, x, y in differences(before, after)]
    back = [(y, x) for _, x, y in differences(after, before)]
    assert len(there) == 0 or len(back) > 0
    assert sum(x is ABSENT for x, _ in there) >= 0


@given(st.lists(st.integers(), min_size=1, max_size=8, unique=True), st.data())
def test_one_item_inserted_is_one_difference(items, data):
    at = data.draw(st.integers(0, len(items)))
    longer = [*items[:at], "new", *items[at:]]
    assert [(x, y) for _, x, y in differences(items, longer)] == [(ABSENT, "new")]


def repr_typed(value):
    """True is not 1: flags must not be confused with ids."""
    if isinstance(value, dict):
        return {k: repr_typed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [repr_typed(v) for v in value]
    return type(value).__name__, value


vocabularies = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 9), max_size=8)


@given(vocabularies, vocabularies)
def test_a_vocabulary_diff_counts_what_the_obvious_loop_counts(before, after):
    diff = vocabulary_diff(before, after)
    assert diff.added_len == len([p for p in after if p not in before])
    assert diff.removed_len == len([p for p in before if p not in after])
    assert diff.moved_len == len([p for p in before if p in after and before[p] != after[p]])
    assert len(diff.added) == diff.added_len


merges = st.lists(st.text("ab", min_size=1, max_size=3), max_size=8, unique=True)


@given(merges, merges)
def test_a_merges_diff_sees_every_change_of_order(before, after):
    diff = merges_diff(before, after)
    kept = [m for m in before if m in after]
    wanted = [m for m in after if m in before]
    assert (diff.moved_len > 0) == (kept != wanted)
    assert diff.added_len == len(set(after) - set(before))
    assert diff.removed_len == len(set(before) - set(after))
