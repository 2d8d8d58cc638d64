"""The wire format of OpenAI-style completions: bodies to send, chunks to read; no I/O."""

from __future__ import annotations

import json
from typing import Any

from chatlab.engines.dialects.capabilities import Capabilities
from chatlab.engines.engine import Emitter, FinishReason
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import RemoteCut, RemoteError

# vLLM's switches that make a stream say exactly which ids it is made of.
_EXACT = {
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "add_special_tokens": False,
    "stream_options": {"include_usage": True},
}
_FINISH: dict[str, FinishReason] = {"stop": "eos", "length": "length"}


def completion_body(
    model: str,
    prompt: list[int] | str,
    params: SamplingParams,
    seed: int | None,
    can: Capabilities,
    stops: list[str],
) -> dict[str, Any]:
    """The body of one request, in what the server was seen to understand."""
    body: dict[str, Any] = {"model": model, "prompt": prompt, "stream": True, "max_tokens": params.max_new_tokens}
    body |= {"temperature": params.temperature, "top_p": params.top_p}
    extra = {
        "top_k": params.top_k or -1,
        "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
    }
    extra = {name: value for name, value in extra.items() if value is not None and name in can.sampling}
    if can.ids_out:
        body |= _EXACT | extra
        if params.stop_ids:
            body["stop_token_ids"] = list(params.stop_ids)
        if params.logprobs is not None:
            body["logprobs"] = params.logprobs
    else:
        if "top_k" in can.sampling:
            body["generation_config"] = json.dumps(_generation_config(params))
        if stops:
            body["stop"] = stops
    return body if seed is None else body | {"seed": seed}


def full_probe(model: str, prompt_ids: list[int]) -> dict[str, Any]:
    """One token with everything that vLLM can tell."""
    return {"model": model, "prompt": prompt_ids, "stream": True, "max_tokens": 1, "logprobs": 1} | _EXACT


def text_probe(model: str, *, seed: int | None = None) -> dict[str, Any]:
    """A few tokens for a text; with a seed, as hot as can be but with transformers' own top-k of 1."""
    body: dict[str, Any] = {"model": model, "prompt": "Hello", "stream": True, "max_tokens": 6}
    if seed is None:
        return body
    config = {"do_sample": True, "temperature": 100.0, "top_k": 1, "max_new_tokens": 6}
    return body | {"temperature": 100.0, "seed": seed, "generation_config": json.dumps(config)}


def _generation_config(params: SamplingParams) -> dict[str, Any]:
    """The sampling as transformers' own generation config, which carries what completions have no field for."""
    config: dict[str, Any] = {"do_sample": not params.greedy, "max_new_tokens": params.max_new_tokens}
    if not params.greedy:
        config |= {"temperature": params.temperature, "top_k": params.top_k, "top_p": params.top_p}
        if params.min_p is not None:
            config["min_p"] = params.min_p
    if params.repetition_penalty is not None:
        config["repetition_penalty"] = params.repetition_penalty
    return config


class CompletionReader:
    """Take the chunks of a streamed completion and give an emitter what they say.

    Law: either everything the server said arrives and :attr:`finish_reason` is set, or ``put`` or ``flush`` raises.
    """

    def __init__(self, emitter: Emitter, *, ids_out: bool) -> None:
        """Expect ids in every chunk, or text only."""
        self.begun = False
        """Whether any chunk has come, so that asking again would repeat it."""
        self.taken = 0
        self.text = ""
        """All text so far."""
        self.saw_ids = self.saw_logprobs = False
        self._emitter = emitter
        self._ids_out = ids_out
        self._finish_reason: FinishReason | None = None

    @property
    def finish_reason(self) -> FinishReason:
        """Why the reply ended, after ``flush``."""
        return self._finish_reason or "error"

    def put(self, data: str) -> None:
        """Take the data of one server-sent event.

        Raises:
            RemoteError: it is an error of the server's, no completion chunk, or contradicts what came before.
        """
        if data.strip() == "[DONE]" or not data.strip():
            return
        self.begun = True
        try:
            chunk = json.loads(data)
            choices = chunk.get("choices") or []
        except (ValueError, AttributeError, RecursionError) as error:
            raise RemoteError(f"the server sent no completion chunk: {data[:200]!r}") from error
        if chunk.get("error"):
            raise RemoteError(f"the server failed in mid-stream: {str(chunk['error'])[:500]}")
        for choice in choices[:1]:
            self._take(choice)
        self._count(chunk.get("usage"))

    def flush(self) -> None:
        """Say that the stream has ended.

        Raises:
            RemoteCut: it ended without saying why.
        """
        if self._finish_reason is None:
            raise RemoteCut(
                f"the stream ended after {self.taken} pieces without a finish_reason: the reply is not whole"
            )

    def _take(self, choice: dict[str, Any]) -> None:
        text, token_ids = choice.get("text") or "", choice.get("token_ids")
        logprobs = choice.get("logprobs") or {}
        if (text or token_ids) and self._finish_reason is not None:
            raise RemoteError("the server went on after it had said that the reply ended")
        self.text += text
        self.saw_ids |= bool(token_ids)
        self.saw_logprobs |= bool(logprobs.get("token_logprobs"))
        if self._ids_out:
            if text and not token_ids:
                raise RemoteError("a piece of the reply came without its token ids, which this server gave at connect")
            self._emit(token_ids or [], logprobs)
        elif text:
            self.taken += 1
            self._emitter.text(text)
        reason = choice.get("finish_reason")
        if reason is not None:
            if reason not in _FINISH:
                raise RemoteError(f"the server ended the reply with {reason!r}")
            by_id = choice.get("stop_reason") is not None
            self._finish_reason = "stop" if by_id and reason == "stop" else _FINISH[reason]

    def _emit(self, token_ids: list[int], logprobs: dict[str, Any]) -> None:
        own, tops = logprobs.get("token_logprobs") or [], logprobs.get("top_logprobs") or []
        for at, token_id in enumerate(token_ids):
            self.taken += 1
            top = _top(tops[at]) if at < len(tops) else None
            self._emitter.token(int(token_id), own[at] if at < len(own) else None, top)

    def _count(self, usage: dict[str, Any] | None) -> None:
        """With ids, the server's own count tells a lost or doubled chunk."""
        if usage is None or not self._ids_out or self._finish_reason is None:
            return
        counted = usage.get("completion_tokens")
        if isinstance(counted, int) and counted != self.taken:
            raise RemoteError(f"the server counts {counted} tokens of the reply, but {self.taken} came")


def _top(logprobs: dict[str, float] | None) -> tuple[tuple[int, float], ...] | None:
    """Likeliest ids of vLLM's ``{"token_id:5": -0.1}``, likeliest first."""
    if logprobs is None:
        return None
    pairs = [(int(name.removeprefix("token_id:")), float(value)) for name, value in logprobs.items()]
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))
