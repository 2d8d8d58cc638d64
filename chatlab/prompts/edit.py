"""Dialogues edited, branched and shortened by whole turns; each gives a new dialogue."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from chatlab.errors import DialogueError
from chatlab.prompts.control_tokens.encode import encode_prompt
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.prompts.dialogue import fill_prompt as fill_prompt
from chatlab.prompts.filling import AnyPromptClass


def edit_turn(
    dialogue: Dialogue, turn_number: int, *, user: str | None = None, assistant: str | None = None
) -> Dialogue:
    """The dialogue with one turn said otherwise; the turns after it stay.

    Args:
        dialogue: what to edit.
        turn_number: which turn, from 1.
        user: a new question, or None to keep it.
        assistant: a new answer, or None to keep it.

    Raises:
        DialogueError: there is no such turn, or the dialogue is not plain.
    """
    turn = _turn(dialogue, turn_number)
    changed = Turn(
        user=turn.user if user is None else user, assistant=turn.assistant if assistant is None else assistant
    )
    return dialogue.replace(turns=(*dialogue.turns[: turn_number - 1], changed, *dialogue.turns[turn_number:]))


def branch(dialogue: Dialogue, turn_number: int, *, user: str | None = None) -> Dialogue:
    """The dialogue up to a turn, whose question waits for another answer.

    Args:
        dialogue: what to branch.
        turn_number: the turn to answer anew, from 1; later turns are left out.
        user: another question for it, or None to ask the same again.

    Raises:
        DialogueError: there is no such turn, or the dialogue is not plain.

    >>> dialogue = Dialogue(id="d", turns=(Turn(user="a", assistant="b"), Turn(user="c", assistant="d")))
    >>> branch(dialogue, 2, user="x").turns
    (Turn(user='a', assistant='b'), Turn(user='x', assistant=None))
    """
    turn = _turn(dialogue, turn_number)
    open_turn = Turn(user=turn.user if user is None else user)
    return dialogue.replace(id=f"{dialogue.id}/{turn_number}", turns=(*dialogue.turns[: turn_number - 1], open_turn))


def truncate(dialogue: Dialogue, prompt_class: AnyPromptClass, tokenizer: Any, *, max_tokens: int) -> Dialogue:
    """The newest whole turns whose prompt is at most ``max_tokens`` tokens long; the system text stays.

    A turn begins with a user's message and holds all that follows until the next, tool calls and results too.

    Raises:
        DialogueError: the last turn alone is longer, so nothing could be cut without breaking it.
    """
    starts = _starts(dialogue)
    head = [message for message in dialogue.messages[: starts[0]] if message["role"] in ("system", "developer")]

    def without(dropped: int) -> Dialogue:
        kept = (*head, *dialogue.messages[starts[dropped] :])
        return dialogue.replace(messages=kept) if dropped else dialogue

    def fits(dropped: int) -> bool:
        return count_tokens(without(dropped), prompt_class, tokenizer) <= max_tokens

    last = len(starts) - 1
    if not fits(last):
        alone = count_tokens(without(last), prompt_class, tokenizer)
        raise DialogueError(f"dialogue {dialogue.id!r}: its last turn alone is {alone} tokens, over {max_tokens}")
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return without(low)


def count_tokens(dialogue: Dialogue, prompt_class: AnyPromptClass, tokenizer: Any) -> int:
    """How many tokens the prompt of the whole dialogue has; a last turn without an answer opens its reply."""
    return len(encode_prompt(tokenizer, fill_prompt(dialogue, prompt_class), warn=False).token_ids)


def _starts(dialogue: Dialogue) -> list[int]:
    """Where turns begin: a user's message after another's."""
    roles = ["", *(message["role"] for message in dialogue.messages)]
    starts = [at for at, (before, role) in enumerate(pairwise(roles)) if role == "user" != before]
    return starts or [0]


def _turn(dialogue: Dialogue, turn_number: int) -> Turn:
    if not 1 <= turn_number <= len(dialogue.turns):
        raise DialogueError(f"dialogue {dialogue.id!r} has turns 1 to {len(dialogue.turns)}, not {turn_number}")
    return dialogue.turns[turn_number - 1]
