"""Where chatlab keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """Return a folder below ``$CHATLAB_CACHE``, else below the user's cache folder; it may not exist yet."""
    root = os.environ.get("CHATLAB_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatlab"
    return base.joinpath(*parts)
