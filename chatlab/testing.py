"""Test doubles for those who build on chatlab: engines that follow a script, tiny models, tiny tokenizers."""

from __future__ import annotations

from chatlab.engines.scripted import CodePointTokenizer, ScriptedEngine

__all__ = ["CodePointTokenizer", "ScriptedEngine"]
