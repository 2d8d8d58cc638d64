"""The flaws of a prompt that have a name because they are common and cost quality, and how each is seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from os.path import commonprefix
from typing import Any

from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.control_tokens.encode import encode_prompt
from chatlab.prompts.control_tokens.reading import Reader
from chatlab.prompts.dialogue import Dialogue


class FlawKind(StrEnum):
    """A difference that has a name because it is common and costs quality."""

    DOUBLE_BOS = "double BOS"
    MISSING_BOS = "missing BOS"
    TRAILING_SPACE = "trailing space"
    MISSING_GENERATION_PROMPT = "missing generation prompt"
    SYSTEM_DROPPED = "system prompt dropped"
    PREFIX_BROKEN = "prefix property broken"
    REFUSED = "messages refused"


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """A kind, whose it is (``class`` or ``template``), and what was seen."""

    kind: FlawKind
    side: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A prompt, and the shorter renders that its flaws show in."""

    text: str
    ids: list[int]
    closed: str
    """The same without the reply's opening."""
    earlier: str
    """Without the last question either: the first messages alone."""
    drops_system: bool
    """Whether another system text gives the same prompt."""
    bos_id: int | None
    ids_with_special: list[int]


def rendered(prompt: AbstractChatPrompt, reader: Reader, tokenizer: Any) -> Rendered:
    """Render a prompt, and without its last messages, and encode it."""
    encoded = encode_prompt(tokenizer, prompt, warn=False)
    closed = prompt.copy()
    closed.remove_last_message()
    earlier = closed.copy()
    earlier.remove_last_message()
    other = prompt.copy()
    system = prompt.get_system_prompt()
    other.set_system_prompt(f"{system}x")
    before = reader.frame[0]
    return Rendered(
        text=encoded.text,
        ids=encoded.token_ids,
        closed=closed.create_prompt(),
        earlier=earlier.create_prompt() if earlier.get_history() else "",
        drops_system=bool(system and system.strip()) and other.create_prompt() == encoded.text,
        bos_id=before[0] if before else _bos_id(tokenizer),
        ids_with_special=[*before, *encoded.token_ids] if prompt.add_special_tokens is False else encoded.token_ids,
    )


def _bos_id(tokenizer: Any) -> int | None:
    bos: int | None = getattr(tokenizer, "bos_token_id", None)
    return bos if bos is not None else dict(getattr(tokenizer, "special_strs", {})).get("<s>")


def flaws_of(side: str, prompt: Rendered, dialogue: Dialogue) -> list[Flaw]:
    """What is wrong with a prompt on its own."""
    flaws = []
    bos = [prompt.bos_id, prompt.bos_id]
    if prompt.bos_id is not None and prompt.ids[:2] == bos:
        flaws.append(Flaw(kind=FlawKind.DOUBLE_BOS, side=side, detail=f"the ids begin with {bos}"))
    elif prompt.bos_id is not None and prompt.ids_with_special[:2] == bos:
        detail = "the text carries its BOS: with add_special_tokens=True, the default, there are two"
        flaws.append(Flaw(kind=FlawKind.DOUBLE_BOS, side=side, detail=detail))
    if prompt.drops_system and dialogue.system and dialogue.system.strip():
        detail = f"{dialogue.system.strip()!r:.60} changes nothing in the prompt"
        flaws.append(Flaw(kind=FlawKind.SYSTEM_DROPPED, side=side, detail=detail))
    if not prompt.text.startswith(prompt.earlier):
        offset = len(commonprefix([prompt.text, prompt.earlier]))
        detail = f"the first messages alone give other text from offset {offset}: {prompt.earlier[offset:]!r:.60}"
        flaws.append(Flaw(kind=FlawKind.PREFIX_BROKEN, side=side, detail=detail))
    return flaws


def relative_flaws(ours: Rendered, theirs: Rendered) -> list[Flaw]:
    """What one side has and the other lacks."""
    flaws = []
    sides = (("class", ours, theirs), ("template", theirs, ours))
    for side, mine, other in sides:
        if mine.bos_id is not None and other.ids[:1] == [mine.bos_id] != mine.ids[:1]:
            flaws.append(Flaw(kind=FlawKind.MISSING_BOS, side=side, detail="only the other side's ids begin with it"))
        opening = other.text.removeprefix(other.closed) if other.text.startswith(other.closed) else ""
        if opening.strip() and not mine.text.rstrip().endswith(opening.rstrip()):
            detail = f"the prompt does not end in {opening!r}"
            flaws.append(Flaw(kind=FlawKind.MISSING_GENERATION_PROMPT, side=side, detail=detail))
        mine_end, other_end = (text[len(text.rstrip()) :] for text in (mine.text, other.text))
        if len(mine_end) > len(other_end):
            detail = f"the prompt ends in {mine_end!r}, the other in {other_end!r}"
            flaws.append(Flaw(kind=FlawKind.TRAILING_SPACE, side=side, detail=detail))
    return flaws
