"""Law L9: what is kept is the longest common prefix, and a slow walk finds the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.errors import PlainDataError
from chatlab.turns.border import Border, common_len, end_len

IDS = st.lists(st.integers(0, 3), max_size=80).map(tuple)


def common_len_reference(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Id by id."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


@st.composite
def borders(draw: st.DrawFn) -> Border:
    prompt, reply = draw(IDS), draw(IDS)
    kept = (*prompt, *reply)[: draw(st.integers(0, 160))]
    return Border(
        prompt_ids=prompt,
        reply_ids=reply,
        next_ids=(*kept, *draw(IDS)),
        end_len=draw(st.integers(0, min(1, len(reply)))),
    )


@given(IDS, IDS, IDS)
def test_the_common_prefix_is_that_of_a_walk(head: tuple[int, ...], one: tuple[int, ...], other: tuple[int, ...]):
    assert common_len(head + one, head + other) == common_len_reference(head + one, head + other)


@given(borders())
def test_kept_and_lost_make_up_what_was_seen_and_said(border: Border) -> None:
    said = border.prompt_ids + border.reply_ids[: len(border.reply_ids) - border.end_len]
    assert border.kept_len == common_len_reference(said, border.next_ids)
    assert border.kept_len + border.lost_len == len(said)
    assert border.is_kept is (border.next_ids[: len(said)] == said)


@given(borders())
def test_a_server_never_read_the_last_id_and_always_reads_the_last_one_of_a_prompt(border: Border) -> None:
    state = (border.prompt_ids + border.reply_ids)[:-1]
    found = min(common_len_reference(state, border.next_ids), len(border.next_ids) - 1)
    assert border.state_len == len(state)
    assert border.cached_len == max(0, found)
    assert border.cached_len + border.reread_len == len(border.next_ids)
    assert 0 <= border.wasted_len <= border.state_len


@given(borders())
def test_plain_data_are_the_border(border: Border) -> None:
    assert Border.from_dict(border.to_dict()) == border


def test_what_is_no_border_is_told() -> None:
    with pytest.raises(PlainDataError, match="next_ids"):
        Border.from_dict({"prompt_ids": [], "reply_ids": []})


@pytest.mark.parametrize(
    ("reply", "tail", "expected"),
    [
        ([5, 2], [2], 1),  # the same one
        ([5, 2], [3, 9], 1),  # another one
        ([5, 2], [7, 7, 2], 1),  # behind a line end
        ([5, 2], [9, 2], 0),  # the next turn opens: nothing closed the reply
        ([5, 2], [], 0),
        ([5], [2], 0),  # cut by length: no end token was said
        ([], [2], 0),
    ],
)
def test_an_end_token_is_left_out_where_the_template_writes_one(
    reply: list[int], tail: list[int], expected: int
) -> None:
    assert end_len(reply, tail, {2, 3}, {2, 3, 9}) == expected
