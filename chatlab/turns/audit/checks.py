"""What a conversation shows of a template, text against text: each check yields symptoms, and knows no shape.

A symptom is a kind with a word that tells it from others of the kind; equal symptoms are the same fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatlab.turns.audit.conversation import Conversation
from chatlab.turns.audit.kinds import Kind
from chatlab.turns.audit.places import (
    Border,
    border,
    end_token,
    ends_in_token,
    has_influence,
    last_token,
    marked_call,
    marked_content,
    shared_len,
    token_start,
)
from chatlab.turns.audit.renders import MARK, Marked, Refusal, Renders


@dataclass(frozen=True)
class Symptom:
    """What is wrong, and what tells it from others of its kind."""

    kind: Kind
    word: str = ""
    before: str = ""
    """What shows it: what stood there, or was given."""
    after: str = ""
    """And what stands there."""
    line: int = 0
    """Of the template, where it says so itself."""

    @property
    def same(self) -> tuple[Kind, str]:
        """Equal for the same fault."""
        return self.kind, self.word


Check = Callable[[Renders, Conversation], Iterator[Symptom]]


def check_refusal(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield what the template raises, whatever part of the conversation it is asked for."""
    replies, whole = list(conversation.replies), len(conversation.messages)
    asked = [*((at, True) for at in replies), *((at + 1, False) for at in replies), (whole, whole - 1 not in replies)]
    for end, generation in sorted(asked):
        try:
            renders.text(conversation.until(end), generation)
        except Refusal as refusal:
            yield Symptom(Kind.REFUSED, str(refusal), after=str(refusal), line=refusal.line)
            return


def check_drops(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield texts of messages that no render depends on."""
    for at, message in enumerate(conversation.messages):
        if message["content"] and not has_influence(renders, conversation, at, "content", generation=False):
            beside = " beside a call" if "tool_calls" in message else ""
            yield Symptom(Kind.MESSAGE_DROPPED, message["role"] + beside, before=message["content"])


def check_trims(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield replies whose outer blanks change nothing, or that are not written as they were given."""
    for at in conversation.replies:
        text = conversation.messages[at]["content"]
        closed = renders.text(conversation.until(at + 1))
        if not text or text in closed or "</think>" in text:
            continue
        if text != text.strip() and any(
            _is_same(renders, conversation, at, cut) for cut in (text.strip(), text.rstrip(), text.lstrip())
        ):
            yield Symptom(Kind.REPLY_TRIMMED, before=text, after=text.strip())
        elif has_influence(renders, conversation.until(at + 1), at, "content", generation=False):
            yield Symptom(Kind.REPLY_REWRITTEN, "as given", before=text, after=closed[-200:])


def _is_same(renders: Renders, conversation: Conversation, at: int, text: str) -> bool:
    whole = conversation.until(at + 1)
    other = whole.changed(at, lambda message: message.update(content=text))
    return text != conversation.messages[at]["content"] and renders.text(whole) == renders.text(other)


def check_borders(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield what of the prompt and the reply the closed turn or the next prompt does not begin with."""
    for at in conversation.replies:
        found = border(renders, conversation, at)
        if not found.closed.startswith(found.prompt):
            yield _opening(found)
            continue
        yield from _lost_reasoning(renders, found)
        if found.following is not None and not found.following.startswith(found.closed):
            yield _broken(renders, found)


def _opening(found: Border) -> Symptom:
    shared = shared_len(found.prompt, found.closed)
    rest = [text[token_start(text, shared) :][:80] for text in (found.prompt, found.closed)]
    if shared < shared_len(found.prompt, found.bare):
        return Symptom(Kind.HISTORY_REWRITTEN, before=rest[0], after=rest[1])
    return Symptom(Kind.OPENING_DIFFERS, before=rest[0], after=rest[1])


_BLANK_THINK = re.compile(r"<think>\s*</think>")


def _lost_reasoning(renders: Renders, found: Border) -> Iterator[Symptom]:
    """Yield reasoning that the closed turn itself lacks, of a template that writes reasoning elsewhere."""
    thoughts = found.message.get("reasoning_content")
    closed = found.conversation.until(found.at + 1)
    if thoughts and writes_reasoning(renders) and not has_influence(
        renders, closed, found.at, "reasoning_content", generation=False
    ):  # fmt: skip
        yield Symptom(Kind.REASONING_DROPPED, before=thoughts)


def writes_reasoning(renders: Renders) -> bool:
    """Whether the template writes the reasoning of a reply that nothing follows."""
    plain = Conversation(
        ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "t"})
    )
    try:
        renders.text(plain)
    except Refusal:
        return False
    return has_influence(renders, plain, 1, "reasoning_content", generation=False)


def _broken(renders: Renders, found: Border) -> Symptom:
    assert found.following is not None
    shared = shared_len(found.closed, found.following)
    kind, word = _break(renders, found, shared)
    sides = [text[token_start(text, shared) :][:120] for text in (found.closed, found.following)]
    return Symptom(kind, word, before=sides[0], after=sides[1])


def _break(renders: Renders, found: Border, shared: int) -> tuple[Kind, str]:
    """Return of which kind a break is: by where it stands, and by what makes it come and go."""
    if _reasoning_is_lost(renders, found):
        return Kind.REASONING_DROPPED, ""
    closed, following = _marked_sides(renders, found)
    same, place = shared_len(closed, following), closed.rfind(MARK)
    # With a mark in the text's place the thoughts in it are gone: then the break is gone, or stands behind the text.
    if "</think>" in found.message["content"] and shared < len(found.closed) - (len(closed) - same):
        return Kind.REASONING_DROPPED, "in the text"
    if place >= 0 and same > place:
        rest = closed[token_start(closed, same) :]
        return _tail(renders, found, rest, closed[place + 1 :], following[place + 1 :])
    if _BLANK_THINK.search(found.closed[max(0, shared - 20) : shared + 40]):
        return Kind.THINK_BLOCK_DROPPED, ""
    return (Kind.HISTORY_REWRITTEN if shared < len(found.bare) else Kind.REPLY_REWRITTEN), ""


def _marked_sides(renders: Renders, found: Border) -> tuple[str, str]:
    """Return the closed turn and the next prompt with a mark for the reply's text, or for the name of its last call."""
    end = found.conversation.next_call(found.at)
    sides = "", ""
    for mark in (marked_call, marked_content) if "tool_calls" in found.message else (marked_content,):
        whole = mark(found.conversation, found.at)
        sides = renders.text(whole.until(found.at + 1)), renders.text(whole.until(end), True)
        if MARK in sides[0]:
            break
    return sides


def _reasoning_is_lost(renders: Renders, found: Border) -> bool:
    """Whether some reasoning acts on the closed turn and not on the next prompt."""
    end = found.conversation.next_call(found.at)
    closed, whole = found.conversation.until(found.at + 1), found.conversation.until(end)
    return any(
        has_influence(renders, closed, at, "reasoning_content", generation=False)
        and not has_influence(renders, whole, at, "reasoning_content", generation=True)
        for at in closed.replies
        if "reasoning_content" in closed.messages[at]
    )


def _tail(renders: Renders, found: Border, rest: str, closed: str, following: str) -> tuple[Kind, str]:
    """Return of which kind a break behind a reply's text is: ``rest`` is what of the closed turn is not there any more."""
    if rest.strip() and found.prompt.rstrip().endswith(rest.strip()):
        return Kind.OPENING_UNASKED, ""
    kept = closed[: len(closed) - len(rest)]
    if end_token(rest, renders.specials) is None:
        return Kind.REPLY_REWRITTEN, ""
    if ends_in_token(kept, renders.specials):
        return Kind.END_ONLY_LAST, ""
    token = end_token(following[len(kept) :], renders.specials)
    return (Kind.END_MISSING, "in history") if _is_header(renders, found, token) else (Kind.END_DIFFERS, "")


def _is_header(renders: Renders, found: Border, token: str | None) -> bool:
    """Whether a token begins a message: it opens a reply too, or stands last before a question's text."""
    question = renders.text(marked_content(found.conversation.until(1), 0))
    return token is None or token in found.opening or token == last_token(question.partition(MARK)[0])


def check_ends(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield replies behind which no control token stands, even where nothing follows."""
    for at in conversation.replies:
        message = conversation.messages[at]
        whole = conversation.until(at + 1)
        if "tool_calls" in message:
            yield from _end_of_call(renders, whole, at)
            continue
        text = renders.text(marked_content(whole, at))
        tail = text[text.rfind(MARK) + 1 :]
        if MARK in text and end_token(tail, renders.specials) is None and not tail.strip():
            yield Symptom(Kind.END_MISSING, "", after=tail)


def _end_of_call(renders: Renders, whole: Conversation, at: int) -> Iterator[Symptom]:
    text = renders.text(marked_call(whole, at))
    tail = text[text.rfind(MARK) + 1 :]
    plain = whole.changed(at, lambda message: message.update(content=MARK, tool_calls=[]))
    plain = plain.changed(at, lambda message: message.pop("tool_calls"))
    after_text = renders.text(plain)
    own = end_token(after_text[after_text.rfind(MARK) + 1 :], renders.specials)
    if MARK in text and own is not None and own not in tail and not ends_in_token(tail, renders.specials):
        yield Symptom(Kind.END_MISSING, "behind a call", after=tail)


def check_mask(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield what lies on the wrong side of the loss mask, of a template that has one."""
    if not renders.marks:
        return
    for at in conversation.replies:
        whole = conversation.until(at + 1)
        is_call = "tool_calls" in whole.messages[at]
        found = renders.marked((marked_call if is_call else marked_content)(whole, at))
        place = found.text.rfind(MARK)
        own = next((span for span in found.spans if span[0] <= place < span[1]), None)
        if place < 0:
            continue
        if own is None:
            yield Symptom(Kind.REPLY_UNMASKED, "a call" if is_call else "")
            continue
        yield from _end_in_mask(renders, found)
        yield from _width_of_mask(renders, whole, own)


def _end_in_mask(renders: Renders, closed: Marked) -> Iterator[Symptom]:
    text = closed.text.rstrip()
    token = last_token(text) if ends_in_token(text, renders.specials) else None
    if token and not any(start < len(text) <= end for start, end in closed.spans):
        inside = "…".join(closed.text[start:end] for start, end in closed.spans)
        yield Symptom(Kind.END_UNMASKED, before=inside.replace(MARK, "…"), after=token)


def _width_of_mask(renders: Renders, whole: Conversation, own: tuple[int, int]) -> Iterator[Symptom]:
    prompt = renders.text(whole.until(len(whole.messages) - 1), True)
    bare = renders.text(whole.until(len(whole.messages) - 1))
    opening = prompt[shared_len(prompt, bare) :]
    if own[0] < len(prompt) - len(opening) + _header_len(opening):
        yield Symptom(Kind.MASK_TOO_WIDE, "the opening", after=opening)


def _header_len(opening: str) -> int:
    """Return how much of an opening names who speaks; a think tag behind it may be learned."""
    place = opening.find("<think")
    return len(opening if place < 0 else opening[:place])


def check_mask_of_others(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield messages of others that the loss mask covers."""
    for at, message in enumerate(conversation.messages) if renders.marks else ():
        if message["role"] != "assistant" and message["content"]:
            found = renders.marked(marked_content(conversation, at))
            place = found.text.rfind(MARK)
            if any(start <= place < end for start, end in found.spans):
                yield Symptom(Kind.MASK_TOO_WIDE, f"a {message['role']} message")


def check_clock(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield whether the prompt moves with the day."""
    if renders.moves(conversation):
        yield Symptom(Kind.CLOCK)


def check_bos(renders: Renders, conversation: Conversation) -> Iterator[Symptom]:
    """Yield a prompt that begins with two BOS."""
    bos = renders.specials.get("bos_token")
    if bos and renders.text(conversation).startswith(bos + bos):
        yield Symptom(Kind.BOS_TWICE, after=bos + bos)
