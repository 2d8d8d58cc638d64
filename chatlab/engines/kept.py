"""What finished requests have read, kept for prompts that begin alike."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from typing import Any, Literal

from chatlab.engines.cache import begun_with, compact, growing_cache, is_whole_only, why_not_cut
from chatlab.engines.engine import PrefixUse
from chatlab.engines.prefixes import PrefixStore
from chatlab.errors import EngineError

DEFAULT_BYTES = 2**30
"""What ``reuse_prefix=True`` keeps at most, on the model's device."""


class KeptCaches:
    """The KV caches of finished requests, within so many bytes; for the engine's worker alone.

    A kept cache is never written to: a request that begins with it shares its tensors until it grows, so that any
    number of requests may begin with one, and one that is put out lives as long as somebody reads it.
    """

    def __init__(self, model: Any, reuse_prefix: bool | int) -> None:
        """Keep ``reuse_prefix`` bytes at most; ``True`` is :data:`DEFAULT_BYTES`.

        Raises:
            EngineError: it is no number of bytes, or the caches of this model cannot be cut back to a prefix.
        """
        if type(reuse_prefix) not in (bool, int) or reuse_prefix < 1:
            raise EngineError(
                f"reuse_prefix must be True, False, 'auto' or a number of bytes of 1 or more, not {reuse_prefix!r}"
            )
        if (reason := why_not_cut(model)) is not None:
            raise EngineError(f"{type(model).__name__} cannot reuse prefixes, because {reason}: leave out reuse_prefix")
        self._config = model.config
        self._longest = _same_scale_len(model.config)
        self._store: PrefixStore[Any] = PrefixStore(DEFAULT_BYTES if reuse_prefix is True else reuse_prefix)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._store.size

    def emptied(self) -> KeptCaches:
        """The same with nothing kept; who is at this one may go on."""
        empty = copy(self)
        empty._store = PrefixStore(self._store.limit)
        return empty

    def begin(self, prompt_ids: Sequence[int]) -> tuple[Any, PrefixUse]:
        """A cache for a prompt, and what of the prompt it has read already."""
        found = self._store.find(prompt_ids) if self._fits(prompt_ids) else None
        if found is None:
            return growing_cache(self._config), PrefixUse(kept_len=0, lost_len=0)
        cache = begun_with(found.state, found.kept_len, self._config)
        return cache, PrefixUse(kept_len=found.kept_len, lost_len=found.lost_len)

    def keep(self, token_ids: Sequence[int], cache: Any) -> None:
        """Keep the cache of a request that has ended and read ``token_ids``."""
        if token_ids and self._fits(token_ids):
            with suppress(MemoryError, RuntimeError):  # no room to compact it: the reply is whole all the same
                self._store.put(token_ids, cache, compact(cache), whole=is_whole_only(cache))

    def _fits(self, token_ids: Sequence[int]) -> bool:
        return self._longest is None or len(token_ids) <= self._longest


def kept_caches(model: Any, reuse_prefix: bool | int | Literal["auto"]) -> KeptCaches | None:
    """What keeps the caches of a model's requests, where that was asked for; ``"auto"`` asks where the model can."""
    if reuse_prefix is False or (reuse_prefix == "auto" and why_not_cut(model) is not None):
        return None
    return KeptCaches(model, True if reuse_prefix == "auto" else reuse_prefix)


def _same_scale_len(config: Any) -> int | None:
    """How long a text may be for its positions to be turned alike whatever follows; ``None`` where they always are.

    ``longrope`` (Phi-3 of 128k) and ``dynamic`` turn them otherwise when the whole is longer than this.
    """
    config = config.get_text_config()
    found = getattr(config, "rope_parameters", None) or {}
    sets = [found] if "rope_type" in found else [rope for rope in found.values() if isinstance(rope, dict)]
    limits = [
        rope.get("original_max_position_embeddings") or config.max_position_embeddings
        for rope in sets
        if rope.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(limits, default=None)
