"""Test doubles for those who build on chatlab: engines that follow a script, tiny models and tokenizers, a local hub.

Names load on first use, so a test that needs only the hub loads no engine. What a product runs does not live here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatlab.engines.scripted import CodePointTokenizer as CodePointTokenizer
    from chatlab.engines.scripted import ScriptedEngine as ScriptedEngine
    from chatlab.testing.hub import Fault as Fault
    from chatlab.testing.hub import LocalHub as LocalHub
    from chatlab.testing.models import Family as Family
    from chatlab.testing.models import tiny_llama as tiny_llama
    from chatlab.testing.models import tiny_tokenizer as tiny_tokenizer
    from chatlab.testing.streaming_check import check_streaming as check_streaming

_HOME = {
    "CodePointTokenizer": "engines.scripted",
    "Family": "testing.models",
    "Fault": "testing.hub",
    "LocalHub": "testing.hub",
    "ScriptedEngine": "engines.scripted",
    "check_streaming": "testing.streaming_check",
    "tiny_llama": "testing.models",
    "tiny_tokenizer": "testing.models",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'chatlab.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"chatlab.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
