"""Chat templates compared by meaning: parsed, not by their letters, and within the limits of the recorder.

Jinja computes what is constant while it parses names, so ``{{ 2 ** 10 ** 9 }}`` would never end here either.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any

from chatlab.snapshots import recorder


@lru_cache(maxsize=64)
def _parsed(text: str) -> tuple[str | None, frozenset[str]]:
    """Return a hash of a template's parsed form, and its free names; ``None`` and no names where it does not parse."""
    import jinja2
    import jinja2.meta

    def parse(text: str) -> list[Any]:
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        tree = environment.parse(text)
        return [recorder.sha256(repr(tree)), sorted(jinja2.meta.find_undeclared_variables(tree))]

    (found,) = recorder.limited(Path(), parse, [text])
    return (found[0], frozenset(found[1])) if isinstance(found, list) else (None, frozenset())


def same_meaning(before: Any, after: Any) -> bool:
    """Whether two templates parse to the same tree.

    >>> same_meaning("{{ bos_token }}{# new #}hi", "{{bos_token}}hi")
    True
    """
    if before == after:
        return True
    if not isinstance(before, str) or not isinstance(after, str):
        return False
    tree = _parsed(before)[0]
    return tree is not None and tree == _parsed(after)[0]


def template_variables(text: Any) -> set[str]:
    """Return the names that a template wants from outside, such as ``tools`` or ``strftime_now``."""
    return set(_parsed(text)[1]) if isinstance(text, str) else set()


def template_diff(before: Any, after: Any) -> str:
    """Return a unified diff of two templates, cut after each tag so that one-line templates can be read."""
    return "\n".join(difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=1))


def _lines(text: Any) -> list[str]:
    if not isinstance(text, str):
        return []
    return text.replace("%}", "%}\n").replace("}}", "}}\n").splitlines()
