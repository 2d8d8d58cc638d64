"""``/tokenize`` and ``/detokenize`` as vLLM spells them: the bodies, read, and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chatlab.errors import TokenIdError
from chatlab.server.openai.requests.asked import HARMLESS
from chatlab.server.openai.requests.body import Body
from chatlab.server.openai.requests.messages import read_messages, read_tools, read_variables
from chatlab.tokenizers.interface import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenizeRequest:
    """A text or messages whose ids are asked for."""

    model: str | None
    prompt: str | None
    """``None`` where messages are asked for."""
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    add_special_tokens: bool | None
    """``None`` is what an answer is given by."""
    add_generation_prompt: bool = True
    return_token_strs: bool
    ignored: tuple[str, ...] = ()
    """Fields that were there and change nothing."""


def read_tokenize(data: Mapping[str, Any]) -> TokenizeRequest:
    """Read the body.

    >>> read_tokenize({"prompt": "Hi", "add_special_tokens": False}).add_special_tokens
    False

    Raises:
        RequestError: it holds neither a text nor messages, or both, or a field that is unknown or of another kind.
    """
    body = Body(data)
    prompt, special = body.text("prompt"), body.take("add_special_tokens")
    if special is not None and not isinstance(special, bool):
        raise body.wrong("add_special_tokens", "true or false", special)
    request = TokenizeRequest(
        model=body.text("model"),
        prompt=prompt,
        add_special_tokens=special,
        return_token_strs=body.flag("return_token_strs"),
    )
    if prompt is None:
        request = _with_messages(request, body)
    return replace(request, ignored=body.close(HARMLESS))


def _with_messages(request: TokenizeRequest, body: Body) -> TokenizeRequest:
    body.only({"continue_final_message": [False]}, "a chat is answered")
    return replace(
        request,
        messages=read_messages(body),
        tools=read_tools(body),
        variables=read_variables(body),
        add_generation_prompt=body.flag("add_generation_prompt", True),
    )


def read_detokenize(data: Mapping[str, Any]) -> tuple[str | None, tuple[int, ...]]:
    """The model's name where it is given, and the ids whose text is asked for.

    Raises:
        RequestError: they are no ids, or a field is unknown.
    """
    body = Body(data)
    model, token_ids = body.text("model"), body.ids("tokens")
    if token_ids is None:
        raise body.wrong("tokens", "a list of token ids", None)
    body.close(HARMLESS)
    return model, token_ids


def tokenize_answer(
    token_ids: Sequence[int], tokenizer: Tokenizer, *, context_len: int | None, with_pieces: bool
) -> dict[str, Any]:
    """What ``/tokenize`` says; ``token_strs`` are pieces as the vocabulary spells them."""
    pieces = [_piece(tokenizer, token_id) for token_id in token_ids] if with_pieces else None
    return {"count": len(token_ids), "max_model_len": context_len, "tokens": list(token_ids), "token_strs": pieces}


def _piece(tokenizer: Tokenizer, token_id: int) -> str:
    try:
        return tokenizer.piece(token_id)
    except TokenIdError:  # the vocabulary of a model is often padded beyond its tokenizer's
        return ""
