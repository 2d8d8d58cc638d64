"""Results kept on disk by the hash of all that decides them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatlab.files import whole_file
from chatlab.tokenizers.cache import cache_folder

LIMIT_BYTES = 512 * 1024**2
"""The least recently used entries go when a cache grows beyond this."""


class Cache:
    """A folder of JSON values by hash; a damaged entry counts as absent."""

    def __init__(self, name: str) -> None:
        self.folder = cache_folder(name)

    def path(self, key: str) -> Path:
        """Return where a value lies."""
        return self.folder / f"{key}.json"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a kept value, or ``None``."""
        path = self.path(key)
        try:
            value = json.loads(path.read_bytes())
            os.utime(path)
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value, whole or not at all; a full or read-only disk only costs the reuse."""
        data = json.dumps(value, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self.path(key)) as part:
                part.write_bytes(data)
            self._trim()

    def _trim(self) -> None:
        entries = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.json")), reverse=True)
        total = 0
        for _, size, path in entries:
            total += size
            if total > LIMIT_BYTES:
                path.unlink(missing_ok=True)
