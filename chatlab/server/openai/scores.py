"""Log probabilities in OpenAI's two shapes: a chat's list of tokens, and the four lists of a completion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chatlab.engines.engine import TokenScore
from chatlab.server.openai.token_names import TokenNames
from chatlab.streaming.result import Delta

LEAST = -9999.0
"""What stands for minus infinity, which JSON cannot say; OpenAI's own."""


def chat_scores(delta: Delta, names: TokenNames, *, as_ids: bool) -> dict[str, Any] | None:
    """The scores of one delta as a chat tells them; ``None`` where there are none."""
    if delta.logprobs is None:
        return None

    def told(token_id: int, score: float) -> dict[str, Any]:
        return {"token": names.name(token_id, as_id=as_ids), "logprob": score, "bytes": list(names.bytes_of(token_id))}

    content = []
    for token_id, own, tops in _scored(delta):
        content.append({**told(token_id, own), "top_logprobs": [told(*top) for top in tops]})
    return {"content": content, "refusal": None}


def completion_scores(delta: Delta, names: TokenNames, *, offset: int, as_ids: bool) -> dict[str, Any] | None:
    """The scores of one delta as a completion tells them; ``None`` where there are none.

    Args:
        delta: the step.
        names: of its tokens.
        offset: where its text begins in the text of the choice, echo included.
        as_ids: spell tokens ``token_id:5``.
    """
    if delta.logprobs is None:
        return None
    scored = list(_scored(delta))
    return {
        "tokens": [names.name(token_id, as_id=as_ids) for token_id, _, _ in scored],
        "token_logprobs": [own for _, own, _ in scored],
        "top_logprobs": [names.table(_with_own(*one), as_ids=as_ids) for one in scored],
        "text_offset": [offset] * len(scored),
    }


def prompt_scores(
    scores: Sequence[TokenScore], names: TokenNames, offsets: Sequence[int], *, as_ids: bool
) -> dict[str, Any]:
    """The scores of an echoed prompt as a completion tells them; its first token has none.

    Args:
        scores: of each id.
        names: of the tokens.
        offsets: where the text of each begins in the echo.
        as_ids: spell tokens ``token_id:5``.
    """
    tables = [
        None if score.logprob is None else names.table(_with_own(*_sayable_all(score)), as_ids=as_ids)
        for score in scores
    ]
    return {
        "tokens": [names.name(score.token_id, as_id=as_ids) for score in scores],
        "token_logprobs": [None if score.logprob is None else _sayable(score.logprob) for score in scores],
        "top_logprobs": tables,
        "text_offset": list(offsets),
    }


def _sayable_all(score: TokenScore) -> tuple[int, float, list[tuple[int, float]]]:
    tops = [(token_id, _sayable(value)) for token_id, value in score.top_logprobs]
    return score.token_id, _sayable(score.logprob), tops


def join_scores(parts: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The scores of a whole answer: the lists of its pieces, end to end."""
    joined: dict[str, Any] | None = None
    for part in parts:
        if joined is None:
            joined = {name: list(told) if isinstance(told, list) else told for name, told in part.items()}
        else:
            for name, told in part.items():
                if isinstance(told, list):
                    joined[name] += told
    return joined


def _with_own(token_id: int, own: float, tops: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The likeliest tokens, and the one that was said, which need not be among them."""
    return tops if any(token_id == top for top, _ in tops) else [*tops, (token_id, own)]


def _scored(delta: Delta) -> Iterator[tuple[int, float, list[tuple[int, float]]]]:
    """Each token with its score and the likeliest ones with theirs."""
    scores = delta.logprobs or ()
    tops = delta.top_logprobs or (None,) * len(scores)
    for token_id, own, top in zip(delta.token_ids, scores, tops, strict=True):
        yield token_id, _sayable(own), [(other, _sayable(score)) for other, score in top or ()]


def _sayable(score: float | None) -> float:
    return LEAST if score is None or not score > LEAST else min(score, 0.0)
