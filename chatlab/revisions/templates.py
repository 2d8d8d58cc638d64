"""Chat templates compared by meaning: parsed, not by their letters."""

from __future__ import annotations

import difflib
from typing import Any


def template_tree(text: Any) -> str | None:
    """Return a template's parsed form as text; comments and whitespace control that change nothing are gone.

    Returns ``None`` for no template or one that does not parse.
    """
    if not isinstance(text, str):
        return None
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    try:
        return repr(environment.parse(text))
    except jinja2.TemplateError:
        return None


def same_meaning(before: Any, after: Any) -> bool:
    """Whether two templates parse to the same tree.

    >>> same_meaning("{{ bos_token }}{# new #}hi", "{{bos_token}}hi")
    True
    """
    if before == after:
        return True
    tree = template_tree(before)
    return tree is not None and tree == template_tree(after)


def template_variables(text: Any) -> set[str]:
    """Return the names that a template wants from outside, such as ``tools`` or ``strftime_now``."""
    if not isinstance(text, str):
        return set()
    import jinja2
    import jinja2.meta

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    try:
        return set(jinja2.meta.find_undeclared_variables(environment.parse(text)))
    except jinja2.TemplateError:
        return set()


def template_diff(before: Any, after: Any) -> str:
    """Return a unified diff of two templates, cut after each tag so that one-line templates can be read."""
    return "\n".join(difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=1))


def _lines(text: Any) -> list[str]:
    if not isinstance(text, str):
        return []
    return text.replace("%}", "%}\n").replace("}}", "}}\n").splitlines()
