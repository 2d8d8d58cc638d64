"""Faults on the way back: what is told of a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatlab.streaming.result import Delta


class Trimmed:
    """A reply told without the blanks round its content."""

    def __init__(self) -> None:
        self._waiting = ""
        self._told = ""

    def put(self, delta: Delta) -> Delta:
        """The delta to tell: blanks wait until something follows them."""
        if delta.channel != "content":
            return delta
        text = self._waiting + delta.text
        text = text if self._told else text.lstrip()
        shown = text.rstrip()
        self._waiting = text[len(shown) :]
        start = len(self._told)
        self._told += shown
        return replace(delta, text=shown, text_start=start, text_end=len(self._told), token_spans=())


def stop_unshown(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave the stop string out, whether or not it is asked for."""
    return {**options, "include_stop_str_in_output": False}


def special_tokens_skipped(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave special tokens out before anybody looks for channels among them."""
    return {**options, "skip_special_tokens": True, "channels": None}


def control_tokens_allowed(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read what messages spell as the format's own."""
    return {**options, "allow_control_tokens": True}
