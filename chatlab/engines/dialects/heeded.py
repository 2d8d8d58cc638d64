"""Which sampling is in force: what a server was seen to heed is sent, what it ignores is refused or told."""

from __future__ import annotations

from chatlab.engines.dialects.capabilities import Capabilities
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ChatlabWarning


class SamplingWarning(ChatlabWarning):
    """A server was not seen to heed a default of ``SamplingParams``, so its own rule may be in force."""


def lacking(params: SamplingParams, seed: int | None, can: Capabilities) -> list[str]:
    """What a request asks for and the server was not seen to give."""
    lacks = []
    if params.logprobs is not None and not (can.logprobs and can.ids_out):
        lacks.append("log probabilities")
    if seed is not None and not params.greedy and "seed" not in can.sampling:
        lacks.append("a seed")
    if params.top_k not in (0, SamplingParams().top_k) and "top_k" not in can.sampling and not params.greedy:
        lacks.append("top_k")
    lacks += [name for name in ("min_p", "repetition_penalty") if getattr(params, name) and name not in can.sampling]
    if params.repetition_penalty is not None and params.repetition_penalty_method == "additive":
        lacks.append("an additive repetition penalty")
    return lacks


def untold(params: SamplingParams, can: Capabilities) -> str | None:
    """What of a request's sampling cannot be told to the server, in a sentence; ``None`` where all of it can."""
    if params.greedy or "top_k" in can.sampling:
        return None
    return (
        f"top_k={params.top_k} is what SamplingParams says, but this server was not seen to heed it: its own top-k, and "
        "its own min-p and repetition penalty if it has them, are in force; use temperature=0, a server such as vLLM, "
        "or a LocalEngine where that matters"
    )
