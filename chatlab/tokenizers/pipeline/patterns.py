"""Which pipelines may take without end: those with a pattern, or a row of replacements, that nobody knows to be cheap."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tokenizers import Tokenizer as RustTokenizer

Value = TypeVar("Value")

REPLACEMENTS = 4
"""So many replacements in a row are usual; each may double a text."""

_ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HEAD = r"[^\r\n\p{L}\p{N}]?"
IN_WIDE_USE = frozenset(
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        *(rf"{_ENDS}|{_HEAD}\p{{L}}+|\p{{N}}{count}{_TAIL}" for count in ("", "{1,3}")),
        *(
            rf"{_HEAD}{_UPPER}*{_LOWER}+{ends}|{_HEAD}{_UPPER}+{_LOWER}*{ends}|\p{{N}}{count}"
            + _TAIL.replace(r"[\r\n]*|", r"[\r\n/]*|")
            for ends, count in ((f"{_ENDS}?", "{1,3}"), ("", ""))
        ),
    ]
)
"""Patterns of GPT-2, GPT-4, Llama 3, Qwen, GPT-4o and Tekken: measured, and linear on what people write."""

_NO_OPERATOR = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)


def may_be_costly(rust: RustTokenizer) -> bool:
    """Whether no one can say that this pipeline takes little time for a short text."""
    parts = [json.loads(part.__getstate__()) for part in (rust.normalizer, rust.pre_tokenizer) if part]
    found = [step for part in parts for step in _steps(part)]
    replacing = sum(step.get("type") == "Replace" for step in found)
    patterns = [str(step["pattern"]["Regex"]) for step in found if "Regex" in (step.get("pattern") or {})]
    return replacing > REPLACEMENTS or not all(map(is_cheap, patterns))


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """Yield each step of a part, those inside sequences too."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _steps(value)
    elif isinstance(part, list):
        for value in part:
            yield from _steps(value)


def is_cheap(pattern: str) -> bool:
    r"""Whether a pattern is in wide use, or so plain that it cannot backtrack far: no group, and one repetition.

    >>> is_cheap(r"\p{N}{1,3}"), is_cheap(" "), is_cheap("(a+)+$"), is_cheap(r"\w*\w*\w*x")
    (True, True, False, False)
    """
    plain = _NO_OPERATOR.sub(".", re.sub(r"\\p\{\^?\w+\}", ".", pattern))
    return pattern in IN_WIDE_USE or ("(" not in plain and len(re.findall(r"[*+{]", plain)) <= 1)


def interruptible(call: Callable[[], Value]) -> Value:
    """Return what a call into Rust gives, that frees Python's lock; on the main thread Ctrl-C ends the waiting at once.

    The call itself goes on in a thread of its own until the library gives up: nothing can stop it but its process.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    ended, outcome, raised = threading.Event(), list[Value](), list[BaseException]()

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # a panic of Rust is no Exception
            raised.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="chatlab encode", daemon=True).start()
    ended.wait()
    if raised:
        raise raised[0]
    return outcome[0]
