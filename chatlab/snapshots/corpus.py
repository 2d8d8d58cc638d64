"""The probe corpus: inputs that show what a tokenizer does where it matters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from chatlab.embedded import embedded_path


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One diagnostic input."""

    label: str
    family: str
    text: str
    comment: str


@lru_cache(maxsize=1)
def probe_corpus() -> Mapping[str, Any]:
    """Return the parsed corpus of ``data/probes``."""
    corpus: Mapping[str, Any] = json.loads(embedded_path("probes", "corpus.json").read_text(encoding="utf-8"))
    return corpus


def static_probes() -> list[Probe]:
    """Return the probes that are the same for every tokenizer; the others are patterns for its own added tokens."""
    return [Probe(**row) for row in probe_corpus()["texts"]]
