"""How the next token is chosen, as one checked value."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, Self

from chatlab.errors import SamplingError

PenaltyMethod = Literal["multiplicative", "additive", "subtractive"]

MAX_SEED = 2**63 - 1
MAX_PENALTY = 1e6
"""A larger one, or a share smaller than its inverse, makes a float32 logit infinite."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The options of one generation, with ChatStream's documented names and defaults.

    The order is the one of transformers' ``generate``: repetition penalty, temperature, top-k, top-p, min-p.

    >>> SamplingParams(temperature=0).greedy
    True
    >>> SamplingParams(top_p=1.5)
    Traceback (most recent call last):
    chatlab.errors.SamplingError: top_p must lie in 0 < top_p <= 1, not 1.5

    Raises:
        SamplingError: a value is of the wrong type or out of its bounds; the message names both.
    """

    max_new_tokens: int = 256
    """Tokens of the reply at most, 1 or more."""
    context_len: int = 1024
    """Tokens of prompt and reply together; a model with a shorter context lowers it."""
    temperature: float = 1.0
    """0 takes the likeliest token, 1 the model's own distribution; 0 or more."""
    top_k: int = 50
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the likeliest tokens that together reach this probability; in 0 < top_p <= 1."""
    min_p: float | None = None
    """Drop tokens below this share of the likeliest one's probability; in 0 <= min_p <= 1."""
    repetition_penalty: float | None = None
    """Weaken every token that the prompt or the reply holds already; ``None`` does not."""
    repetition_penalty_method: PenaltyMethod = "multiplicative"
    """``multiplicative`` scales the logit away from the token (1 = off), ``additive`` subtracts (0 = off).
    ``subtractive`` is ChatStream's word for ``additive``, and is kept as that."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply; searched in the reply's raw text, never in the prompt, and not shown."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end the reply, beside the model's own end token."""
    seed: int | None = None
    """Fixes the draw; ``None`` draws one, which the result names."""
    logprobs: int | None = None
    """Report each token's log probability and those of the n likeliest; ``None`` reports none.
    They are the model's own, before penalty, temperature and cuts."""

    def __post_init__(self) -> None:
        for name in ("stop", "stop_ids"):
            value = getattr(self, name)
            if isinstance(value, (str, int)):
                example = value if value != "" else "###"
                raise SamplingError(f"{name} must be a list, not {value!r}: write [{example!r}]")
            if not isinstance(value, Iterable):
                raise SamplingError(f"{name} must be a list, not {value!r}: leave it out, or write []")
            object.__setattr__(self, name, tuple(value))
        self._check_int("max_new_tokens", at_least=1)
        self._check_int("context_len", at_least=2)
        self._check_int("top_k", at_least=0)
        self._check("temperature", self.temperature >= 0 if _real(self.temperature) else False, "temperature >= 0")
        self._check("top_p", 0 < self.top_p <= 1 if _real(self.top_p) else False, "0 < top_p <= 1")
        if self.min_p is not None:
            self._check("min_p", 0 <= self.min_p <= 1 if _real(self.min_p) else False, "0 <= min_p <= 1")
        self._check_penalty()
        for stop in self.stop:
            if not isinstance(stop, str) or not stop:
                raise SamplingError(f"stop must hold non-empty strings, not {stop!r}")
        for stop_id in self.stop_ids:
            if not _integer(stop_id) or stop_id < 0:
                raise SamplingError(f"stop_ids must hold token ids, 0 or more, not {stop_id!r}")
        if self.seed is not None:
            self._check_int("seed", at_least=0, at_most=MAX_SEED)
        if self.logprobs is not None:
            self._check_int("logprobs", at_least=0)

    @property
    def greedy(self) -> bool:
        """Whether no draw is made, so that no seed matters."""
        return self.temperature == 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self) | {"stop": list(self.stop), "stop_ids": list(self.stop_ids)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The value that ``to_dict`` wrote down.

        Raises:
            SamplingError: a field is unknown or out of its bounds.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise SamplingError(
                f"no sampling parameter is called {', '.join(unknown)}: {_meant(unknown, known)}there are {sorted(known)}"
            )
        return cls(**data)

    def _check_penalty(self) -> None:
        penalty, method = self.repetition_penalty, self.repetition_penalty_method
        if method == "subtractive":
            object.__setattr__(self, "repetition_penalty_method", "additive")
        elif method not in ("multiplicative", "additive"):
            raise SamplingError(f"repetition_penalty_method must be 'multiplicative' or 'additive', not {method!r}")
        if penalty is None:
            return
        if method == "multiplicative":
            fits = _real(penalty) and 1 / MAX_PENALTY <= penalty <= MAX_PENALTY
            self._check("repetition_penalty", fits, "repetition_penalty > 0 (multiplicative: 1e-6 to 1e6)")
        else:
            fits = _real(penalty) and abs(penalty) <= MAX_PENALTY
            self._check("repetition_penalty", fits, "finite numbers (additive: -1e6 to 1e6)")

    def _check_int(self, name: str, *, at_least: int, at_most: int | None = None) -> None:
        value = getattr(self, name)
        bounds = f"{name} >= {at_least}" if at_most is None else f"{at_least} <= {name} <= {at_most}"
        fits = _integer(value) and value >= at_least and (at_most is None or value <= at_most)
        self._check(name, fits, f"whole numbers, {bounds}")

    def _check(self, name: str, fits: bool, bounds: str) -> None:
        if not fits:
            raise SamplingError(f"{name} must lie in {bounds}, not {getattr(self, name)!r}")


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_ELSEWHERE = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_length": "max_new_tokens",
    "n_predict": "max_new_tokens",
    "num_predict": "max_new_tokens",
    "stop_strings": "stop",
    "stop_token_ids": "stop_ids",
    "eos_token_id": "stop_ids",
    "repeat_penalty": "repetition_penalty",
    "frequency_penalty": "repetition_penalty",
    "do_sample": "temperature",
    "top_logprobs": "logprobs",
}
"""What servers and libraries call them."""


def _meant(unknown: list[str], known: Collection[str]) -> str:
    """What was probably meant, with the words around it; nothing where nobody can tell."""
    near = [[_ELSEWHERE[name]] if name in _ELSEWHERE else get_close_matches(name, known, n=1) for name in unknown]
    meant = [name for names in near for name in names]
    return f"did you mean {', '.join(meant)}? " if meant else ""
