"""The choices of an answer, made of a reply's deltas: pure machines, and the whole answer is the sum of its pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chatlab.server.openai.envelope import finish_word
from chatlab.server.openai.requests.asked import Asked
from chatlab.server.openai.scores import chat_scores, completion_scores, join_scores
from chatlab.server.openai.token_names import TokenNames
from chatlab.server.openai.tool_calls import ChatDeltas, add_up
from chatlab.streaming.result import Delta

Choice = dict[str, Any]


class CompletionChoices:
    """Make the choices of a completion.

    **Law.** The ``text`` of all choices, joined, is the echo (where it was asked for) and the shown reply, also with a stop
    string in the middle of a token; their ``token_ids``, joined, are the reply's.
    """

    def __init__(
        self, asked: Asked, names: TokenNames, *, echo: str = "", scores: Mapping[str, Any] | None = None
    ) -> None:
        """Begin an answer; ``echo`` is said first, with its ``scores``."""
        self._asked = asked
        self._names = names
        self._echo = echo
        self._scores = scores
        self._offset = len(echo)

    def begin(self) -> Iterator[Choice]:
        """What stands before the reply."""
        if self._echo or self._scores:
            yield self._choice(self._echo, self._scores, (), None)

    def put(self, delta: Delta, matched: int | str | None = None) -> Iterator[Choice]:
        """The choice of a delta, unless it says nothing; ``matched`` is what stopped the reply with it, if something did."""
        scores = completion_scores(delta, self._names, offset=self._offset, as_ids=self._asked.tokens_as_ids)
        self._offset += len(delta.raw)
        word = finish_word(delta.finish_reason)
        if delta.text or word or scores or (self._asked.return_token_ids and delta.token_ids):
            yield self._choice(delta.text, scores, delta.token_ids, word, matched)

    def _choice(
        self,
        text: str,
        scores: Mapping[str, Any] | None,
        token_ids: Sequence[int],
        word: str | None,
        matched: int | str | None = None,
    ) -> Choice:
        choice = {"index": 0, "text": text, "logprobs": scores, "finish_reason": word, "stop_reason": matched}
        return {**choice, "token_ids": list(token_ids)} if self._asked.return_token_ids else choice


class ChatChoices:
    """Make the choices of a chat's answer.

    **Law.** Their deltas, added up, are the message of the reply; their ``token_ids``, joined, are its ids.
    """

    def __init__(self, asked: Asked, names: TokenNames, deltas: ChatDeltas) -> None:
        """Begin an answer."""
        self._asked = asked
        self._names = names
        self._deltas = deltas

    def begin(self) -> Iterator[Choice]:
        """Who speaks."""
        yield self._choice({"role": "assistant", "content": ""})

    def put(self, delta: Delta, matched: int | str | None = None) -> Iterator[Choice]:
        """The choices of a delta: none, one, or several where a call has ended or could not be read."""
        told = self._deltas.put(delta)
        scores = chat_scores(delta, self._names, as_ids=self._asked.tokens_as_ids)
        token_ids = delta.token_ids if self._asked.return_token_ids else ()
        word = finish_word(delta.finish_reason, called=self._deltas.call_len > 0)
        if not told and (scores or token_ids or word):
            told = [{}]
        for number, one in enumerate(told):
            choice = self._choice(one, scores if number == 0 else None, token_ids if number == 0 else ())
            if word and number == len(told) - 1:
                choice |= {"finish_reason": word, "stop_reason": matched}
            yield choice

    def _choice(
        self, delta: Mapping[str, Any], scores: Mapping[str, Any] | None = None, token_ids: Sequence[int] = ()
    ) -> Choice:
        choice = {"index": 0, "delta": dict(delta), "logprobs": scores, "finish_reason": None}
        return {**choice, "token_ids": list(token_ids)} if self._asked.return_token_ids else choice


def whole_completion(choices: Iterable[Choice]) -> Choice:
    """The one choice of an answer in one piece."""
    pieces = list(choices)
    return _summed(pieces, {"index": 0, "text": "".join(piece["text"] for piece in pieces)})


def whole_chat(choices: Iterable[Choice]) -> Choice:
    """The one choice of a chat's answer in one piece."""
    pieces = list(choices)
    return _summed(pieces, {"index": 0, "message": add_up(piece["delta"] for piece in pieces)})


def _summed(pieces: Sequence[Choice], said: Choice) -> Choice:
    last = pieces[-1] if pieces else {}
    scores = join_scores(piece["logprobs"] for piece in pieces if piece["logprobs"])
    whole = {
        **said,
        "logprobs": scores,
        "finish_reason": last.get("finish_reason"),
        "stop_reason": last.get("stop_reason"),
    }
    if any("token_ids" in piece for piece in pieces):
        whole["token_ids"] = [token_id for piece in pieces for token_id in piece.get("token_ids", ())]
    return whole
