"""The four modes of a TokFlow."""

from __future__ import annotations

MODES = [{"in_type": i, "out_type": o} for i in ("spot", "full") for o in ("spot", "full")]
