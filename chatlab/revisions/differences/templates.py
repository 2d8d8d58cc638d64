"""Chat templates compared by meaning: parsed, not by their letters, and within the limits of the recorder.

Jinja computes what is constant while it parses names, so ``{{ 2 ** 10 ** 9 }}`` would never end here either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from chatlab.snapshots import recorder
from chatlab.snapshots.views import LoaderView, Template


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What a template is beside its letters."""

    error: str | None
    """Why it is no Jinja."""
    sha256: str
    """Hash of the parsed form; equal for templates that mean the same."""
    variables: frozenset[str]
    """Names that it wants from outside, such as ``tools`` or ``strftime_now``."""
    literals: frozenset[str]
    """Texts that it writes itself, without the blanks around them."""


@lru_cache(maxsize=64)
def parsed(text: str) -> Parsed:
    """Return the parsed form of a template."""
    (found,) = recorder.limited(Path(), _parse, [text])
    if isinstance(found, list):
        tree, variables, literals = found
        return Parsed(error=None, sha256=tree, variables=frozenset(variables), literals=frozenset(literals))
    error = str(found.get("error") or f"exceeded {found.get('exceeded')}")
    return Parsed(error=error, sha256="", variables=frozenset(), literals=frozenset())


def _parse(text: str) -> list[object]:
    import jinja2.meta
    from jinja2 import nodes

    tree = recorder.jinja_environment().parse(text)
    written = [node.data for node in tree.find_all(nodes.TemplateData)]
    written += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    names = jinja2.meta.find_undeclared_variables(tree) - {"dict"}
    return [recorder.sha256(repr(tree)), sorted(names), sorted({part for text in written for part in text.split()})]


def same_meaning(before: str | None, after: str | None) -> bool:
    """Whether two templates parse to the same tree.

    >>> same_meaning("{{ bos_token }}{# new #}hi", "{{bos_token}}hi")
    True
    """
    return before == after or meaning(before) == meaning(after)


def meaning(text: str | None) -> str | None:
    """Return what is equal for templates that mean the same: a hash of the parsed form, or the text where it is no Jinja."""
    return text if text is None or parsed(text).error is not None else parsed(text).sha256


def template_variables(text: str | None) -> set[str]:
    """Return the names that a template wants from outside, such as ``tools`` or ``strftime_now``."""
    return set() if text is None else set(parsed(text).variables)


def written_words(text: str | None) -> set[str]:
    """Return the words that a template writes and that a parser could split on: no plain letters and digits.

    >>> sorted(written_words("{{ '### User: ' + messages[0]['content'] + ' [/INST]' }}"))
    ['###', 'User:', '[/INST]']
    """
    return set() if text is None else {word for word in parsed(text).literals if len(word) > 1 and not word.isalnum()}


def template_diff(before: str | None, after: str | None) -> str:
    """Return a unified diff of two templates, cut after each tag so that one-line templates can be read."""
    return "\n".join(difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=1))


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.replace("%}", "%}\n").replace("}}", "}}\n").splitlines()


@dataclass(frozen=True, kw_only=True)
class TemplateChange:
    """A chat template that came, went or changed, in one of the places where one can stand."""

    name: str
    source: str | None
    """The file it stands in now, or stood in."""
    used: bool
    """Whether the loader reads it, on either side."""
    before: str | None
    after: str | None
    same_meaning: bool
    error: str | None
    """Why the new one is no Jinja."""
    unreached: tuple[tuple[int, str], ...]
    """Line and kind of the branches of the new one that no probe goes through."""


def compare_templates(before: LoaderView, after: LoaderView) -> list[TemplateChange]:
    """Return the chat templates that differ: those that the loader reads by name, the others by name and file."""
    old, new = _by_place(before), _by_place(after)
    keys = [key for key in sorted(old.keys() | new.keys(), key=_order) if _text(old.get(key)) != _text(new.get(key))]
    return [_change(old.get(key), new.get(key)) for key in keys]


Place = tuple[str, str | None]


def _order(place: Place) -> tuple[bool, bool, str, str]:
    name, source = place
    return source is not None, name != "default", name, source or ""


def _by_place(view: LoaderView) -> dict[Place, Template]:
    return dict(_places(view))


def _places(view: LoaderView) -> Iterator[tuple[Place, Template]]:
    for template in view.templates:
        yield (template.name, None if template.used else template.source), template


def _text(template: Template | None) -> str | None:
    return template.text if template else None


def _change(old: Template | None, new: Template | None) -> TemplateChange:
    known = new or old
    assert known is not None  # a place is of one side at least
    return TemplateChange(
        name=known.name,
        source=known.source,
        used=known.used,
        before=_text(old),
        after=_text(new),
        same_meaning=same_meaning(_text(old), _text(new)),
        error=parsed(new.text).error if new else None,
        unreached=new.unreached if new else (),
    )
