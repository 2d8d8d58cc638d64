"""Log probabilities of a wire format: four shapes, one reading."""

from __future__ import annotations

from typing import Any

from chatlab.engines.dialects.values import dict_of, id_of, list_of, logprob_of, wrong

Top = tuple[tuple[int, float], ...]
Scores = tuple[tuple[float | None, Top | None], ...]


def completion_scores(logprobs: dict[str, Any]) -> Scores:
    """Of OpenAI's completions, or of its chat, which llama.cpp speaks in completions, too."""
    if logprobs.get("content") is not None:
        return tuple(_chat_score(dict_of("logprobs.content", item)) for item in list_of("content", logprobs["content"]))
    own = list_of("token_logprobs", logprobs.get("token_logprobs"))
    tops = list_of("top_logprobs", logprobs.get("top_logprobs"))
    padded = [*tops, *[None] * (len(own) - len(tops))]
    return tuple((logprob_of("token_logprobs", o), _top(top)) for o, top in zip(own, padded, strict=False))


def generate_scores(meta: dict[str, Any]) -> Scores:
    """Of SGLang's ``/generate``: lists of log probability, id and text."""
    own = list_of("output_token_logprobs", meta.get("output_token_logprobs"))
    tops = list_of("output_top_logprobs", meta.get("output_top_logprobs"))
    padded = [*tops, *[None] * (len(own) - len(tops))]
    return tuple(
        (_pair(o)[1], None if top is None else _likeliest([_pair(item) for item in list_of("top", top)]))
        for o, top in zip(own, padded, strict=False)
    )


def _chat_score(item: dict[str, Any]) -> tuple[float | None, Top | None]:
    tops = [dict_of("top_logprobs", top) for top in list_of("top_logprobs", item.get("top_logprobs"))]
    pairs = [(_id(top.get("id", top.get("token"))), logprob_of("logprob", top.get("logprob"))) for top in tops]
    return logprob_of("logprob", item.get("logprob")), _likeliest(pairs)


def _top(logprobs: object) -> Top | None:
    if logprobs is None:
        return None
    pairs = dict_of("top_logprobs", logprobs).items()
    return _likeliest([(_id(name), logprob_of("top_logprobs", value)) for name, value in pairs])


def _likeliest(pairs: list[tuple[int | None, float | None]]) -> Top | None:
    """Likeliest first; ``None`` where the server names texts, of which several ids may be spelled alike."""
    known = [(token_id, value) for token_id, value in pairs if token_id is not None and value is not None]
    return tuple(sorted(known, key=lambda pair: -pair[1])) if len(known) == len(pairs) else None


def _id(name: object) -> int | None:
    """The id that a key spells: vLLM's ``token_id:5`` where it was asked to, else a text, which is no id."""
    if type(name) is int:
        return name
    spelled = name.removeprefix("token_id:") if isinstance(name, str) else ""
    return int(spelled) if spelled != name and spelled.isascii() and spelled.isdecimal() else None


def _pair(item: object) -> tuple[int, float | None]:
    parts = list_of("output_token_logprobs", item)
    if len(parts) < 2:
        raise wrong("output_token_logprobs", "list of log probability and id", item)
    return id_of("output_token_logprobs", parts[1]), logprob_of("output_token_logprobs", parts[0])
