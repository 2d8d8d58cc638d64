"""What every request for an answer has in common, as one checked value: how to sample, and what to tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatlab.engines.sampling import MAX_PENALTY, MAX_SEED, SamplingParams
from chatlab.errors import RequestError, SamplingError
from chatlab.server.openai.requests.body import Body

MAX_TOP_LOGPROBS = 20
"""OpenAI's bound for a chat."""
MAX_STOPS = 64

HARMLESS = frozenset(
    {"user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier", "priority", "request_id"}
)
"""Fields that say something of the asker and nothing of the answer: they are not used, and the answer's header says so."""

_ONE_ANSWER = "ask once for each answer"
_NOT_SAMPLED_SO = "the engine has no such sampling, and no other one is put in its place"
_NOT_CONSTRAINED = "an answer is not held to a grammar here"
_NEUTRAL: tuple[tuple[dict[str, list[Any]], str], ...] = (
    ({"n": [1], "best_of": [1]}, _ONE_ANSWER),
    (
        {
            "presence_penalty": [0],
            "frequency_penalty": [0],
            "logit_bias": [{}],
            "length_penalty": [1],
            "use_beam_search": [False],
            "bad_words": [[]],
            "min_tokens": [0],
            "ignore_eos": [False],
            "allowed_token_ids": [],
            "logits_processors": [[]],
        },
        _NOT_SAMPLED_SO,
    ),
    (
        {
            "response_format": [{"type": "text"}],
            "structured_outputs": [],
            "guided_json": [],
            "guided_regex": [],
            "guided_choice": [],
            "guided_grammar": [],
        },
        _NOT_CONSTRAINED,
    ),
    ({"prompt_logprobs": []}, "the engine does not score prompts"),
    ({"truncate_prompt_tokens": []}, "a prompt is never cut in silence: shorten it"),
    ({"store": [False]}, "nothing is kept here"),
    ({"cache_salt": []}, "what the engine keeps of prompts is shared"),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How to answer, and what to tell of the answer."""

    model: str | None
    params: SamplingParams
    max_tokens: int | None
    """As asked for; ``None`` where the request does not say."""
    stream: bool = False
    include_usage: bool = False
    """Whether a last chunk of a stream holds the counts."""
    continuous_usage: bool = False
    """Whether every chunk does."""
    return_token_ids: bool = False
    """Tell ``prompt_token_ids`` and the ``token_ids`` of each piece."""
    return_prefix: bool = False
    """Tell what the engine kept of the prompt from before."""
    tokens_as_ids: bool = False
    """Spell tokens ``token_id:5`` in log probabilities, so that none passes for another."""
    skip_special_tokens: bool = True
    include_stop: bool = False
    """Show the stop string, too."""

    @property
    def options(self) -> dict[str, Any]:
        """What of it is an option of the stream."""
        return {"skip_special_tokens": self.skip_special_tokens, "include_stop_str_in_output": self.include_stop}


def read_asked(
    body: Body, *, default_max_tokens: int, logprobs: int | None, context_len: int, least_max_tokens: int = 1
) -> Asked:
    """Read what completions and chats have in common.

    Args:
        body: the request; what this does not know stays in it.
        default_max_tokens: how long an answer may be where the request does not say.
        logprobs: how many likeliest tokens to tell, as the way of asking spells it; ``None`` for none.
        context_len: tokens of prompt and answer together.
        least_max_tokens: 0 where an echo may be all that is asked for.

    Raises:
        RequestError: a field is of another kind, out of bounds, or asks for what is not done here.
    """
    for allowed, why in _NEUTRAL:
        body.only(allowed, why)
    max_tokens = _max_tokens(body, least_max_tokens)
    stream = body.flag("stream")
    include_usage, continuous_usage = _stream_options(body, stream)
    skip_special_tokens = body.flag("skip_special_tokens", True)
    if body.flag("spaces_between_special_tokens") and not skip_special_tokens:
        raise body.refused("spaces_between_special_tokens", "only false is supported: no blank is put into an answer")
    return Asked(
        model=body.text("model"),
        params=_params(body, default_max_tokens if max_tokens is None else max(max_tokens, 1), logprobs, context_len),
        max_tokens=max_tokens,
        stream=stream,
        include_usage=include_usage,
        continuous_usage=continuous_usage,
        return_token_ids=body.flag("return_token_ids"),
        return_prefix=body.flag("return_prefix"),
        tokens_as_ids=body.flag("return_tokens_as_token_ids"),
        skip_special_tokens=skip_special_tokens,
        include_stop=body.flag("include_stop_str_in_output"),
    )


def _max_tokens(body: Body, at_least: int) -> int | None:
    named = {name: body.count(name, at_least=at_least) for name in ("max_tokens", "max_completion_tokens")}
    given = {value for value in named.values() if value is not None}
    if len(given) > 1:
        raise RequestError("max_tokens and max_completion_tokens differ: give one of them", field="max_tokens")
    return next(iter(given), None)


def _stream_options(body: Body, stream: bool) -> tuple[bool, bool]:
    options = body.object("stream_options")
    if options is None:
        return False, False
    if not stream:
        raise body.refused("stream_options", "it says how to stream, and stream is not true")
    told = options.flag("include_usage"), options.flag("continuous_usage_stats")
    options.close({"include_obfuscation"})  # there is none: it pads the chunks of another server against eavesdroppers
    return told


def _params(body: Body, max_new_tokens: int, logprobs: int | None, context_len: int) -> SamplingParams:
    """The sampling, with OpenAI's defaults: what is not asked for is off."""
    temperature = body.number("temperature", at_least=0)
    top_p = body.number("top_p", at_least=0, at_most=1)
    if top_p == 0:
        raise body.refused("top_p", "it must be more than 0; temperature=0 takes the likeliest token")
    top_k = body.count("top_k", at_least=-1)
    penalty = body.number("repetition_penalty", at_least=1 / MAX_PENALTY, at_most=MAX_PENALTY)
    stops, stop_ids = body.texts("stop"), body.ids("stop_token_ids") or ()
    if len(stops) > MAX_STOPS or len(stop_ids) > MAX_STOPS:
        raise body.wrong("stop", f"{MAX_STOPS} stops at most", list(stops))
    try:
        return SamplingParams(
            max_new_tokens=max_new_tokens,
            context_len=context_len,
            temperature=1.0 if temperature is None else temperature,
            top_k=max(top_k or 0, 0),
            top_p=1.0 if top_p is None else top_p,
            min_p=body.number("min_p", at_least=0, at_most=1) or None,
            repetition_penalty=None if penalty == 1 else penalty,
            stop=stops,
            stop_ids=stop_ids,
            seed=body.count("seed", at_most=MAX_SEED),
            logprobs=logprobs,
        )
    except SamplingError as error:
        raise RequestError(str(error)) from error
