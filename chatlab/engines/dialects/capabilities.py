"""What a server can do, as it was seen to do it: what the connection learns and the wire format needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a server was seen to do; what it only promises does not count."""

    ids_in: bool
    """It takes token ids as the prompt, so it reads exactly what was encoded here."""
    ids_out: bool
    """It gives the token ids of each piece of the reply."""
    logprobs: bool
    """It gives log probabilities."""
    sampling: frozenset[str]
    """The parameters it was seen to heed, beside temperature, top-p and max_tokens."""
