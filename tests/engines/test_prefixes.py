"""The index of kept ids finds what a scan over a list finds, and keeps what its bytes allow."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from chatlab.engines.prefixes import PrefixStore

IDS = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
ID_BYTES = 4


def common_len(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def use_of(kept: tuple[int, ...], whole: bool, prompt: tuple[int, ...]) -> int:
    """How much of a prompt a state spares, read off the law."""
    readable = prompt[:-1]
    if whole:
        return len(kept) if readable[: len(kept)] == kept else 0
    return common_len(kept, readable)


@given(st.lists(st.tuples(IDS, st.booleans()), max_size=12), st.lists(IDS, min_size=1, max_size=4))
def test_what_is_found_is_what_a_scan_over_all_that_was_put_finds(puts, asked) -> None:
    store: PrefixStore[int] = PrefixStore(10**6)
    for number, (ids, whole) in enumerate(puts):
        store.put(ids, number, 1, whole=whole)
        for prompt in asked:
            best = max(use_of(kept, is_whole, prompt) for kept, is_whole in puts[: number + 1])
            found = store.find(prompt)
            assert best == (0 if found is None else found.kept_len)
            if found is not None:
                state, is_whole = puts[found.state]
                assert use_of(state, is_whole, prompt) == best
                assert found.lost_len == len(state) - common_len(state, prompt)


@given(st.lists(st.tuples(st.booleans(), IDS), max_size=30), st.integers(20, 80))
def test_the_least_recently_used_go_first(steps, limit: int) -> None:
    """Beside a list of all that is kept, least recently used first."""
    store: PrefixStore[tuple[int, ...]] = PrefixStore(limit)
    kept: list[tuple[int, ...]] = []
    for is_put, ids in steps:
        if is_put:
            store.put(ids, ids, 10)
            longer = sorted(other for other in kept if other[: len(ids)] == ids)
            if longer:
                kept.append(kept.pop(kept.index(longer[0])))
            elif 10 + ID_BYTES * len(ids) <= limit:
                kept = [*(other for other in kept if ids[: len(other)] != other), ids]
            while sum(10 + ID_BYTES * len(other) for other in kept) > limit:
                kept.pop(0)
        elif (found := store.find(ids)) is not None:
            kept.append(kept.pop(kept.index(found.state)))
        assert len(store) == len(kept)
        assert store.size == sum(10 + ID_BYTES * len(other) for other in kept) <= limit
    for ids in kept:
        found = store.find((*ids, 3))
        assert (found.state, found.kept_len, found.lost_len) == (ids, len(ids), 0)


def test_nothing_is_found_for_a_prompt_of_one_id() -> None:
    store: PrefixStore[str] = PrefixStore(100)
    store.put([5, 6], "state", 1)
    assert store.find([5]) is None
    assert store.find([5, 6]).kept_len == 1


def test_a_state_larger_than_the_limit_puts_nothing_out() -> None:
    store: PrefixStore[str] = PrefixStore(100)
    store.put([5], "small", 10)
    store.put([6], "large", 97)
    assert (len(store), store.size) == (1, 14)
