"""Two lock entries against each other: which parts, ids and texts differ, by their hashes."""

from __future__ import annotations

from dataclasses import dataclass

from chatlab.revisions.behaviour import CORE_FAMILIES
from chatlab.revisions.lockfile import Entry
from chatlab.revisions.report import short
from chatlab.revisions.severity import Severity

COMPONENT_SEVERITY = {
    "stop_ids": Severity.BREAKING,
    "renders_plain": Severity.BREAKING,
    "renders_edge": Severity.MAJOR,
    "renders_system": Severity.MAJOR,
    "renders_tools": Severity.MAJOR,
    "specials": Severity.MAJOR,
    "vocab": Severity.MAJOR,
    "settings": Severity.MINOR,
    "truncation": Severity.MINOR,
    "padding": Severity.MINOR,
    "class": Severity.MINOR,
}
"""Severity of a part that differs, before its effect on the probes is known; every other part is MAJOR-latent."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two lock entries differ."""

    severity: Severity
    lines: tuple[str, ...]


def differences_of(old: Entry, new: Entry) -> Difference:
    """Return what differs between what was locked and what is there; a pure function of two entries."""
    found: list[tuple[Severity, str]] = []
    for name in sorted(old.files.keys() | new.files.keys()):
        if old.files.get(name) != new.files.get(name):
            word = "is gone" if name not in new.files else "is new" if name not in old.files else "has other bytes"
            found.append((Severity.INFO, f"{name} {word}"))
    for name in sorted(old.versions.keys() | new.versions.keys()):
        if old.versions.get(name) != new.versions.get(name):
            found.append(
                (Severity.INFO, f"{name}: {old.versions.get(name) or 'absent'} → {new.versions.get(name) or 'absent'}")
            )
    if "error" in new.components:
        found.append((Severity.BREAKING, "no part of it can be compared"))
    else:
        found += [*_components(old, new), *_families(old, new)]
    return Difference(
        severity=max((s for s, _ in found), default=Severity.NONE), lines=tuple(line for _, line in found)
    )


def _components(old: Entry, new: Entry) -> list[tuple[Severity, str]]:
    return [
        (COMPONENT_SEVERITY.get(name, Severity.MAJOR_LATENT), f"{name.replace('_', ' ')} differs")
        for name in sorted(old.components.keys() | new.components.keys())
        if old.components.get(name) != new.components.get(name)
    ]


def _families(old: Entry, new: Entry) -> list[tuple[Severity, str]]:
    if old.golden["corpus"] != new.golden["corpus"]:
        return [
            (Severity.MAJOR_LATENT, "the probe corpus is another one: lock anew with --update to compare ids again")
        ]
    found = []
    for name, hashes in sorted(old.golden["families"].items()):
        now = new.golden["families"].get(name)
        if now is None or now["ids"] != hashes["ids"]:
            found.append(
                (Severity.BREAKING if name in CORE_FAMILIES else Severity.MAJOR, f"ids of {name} probes differ")
            )
        elif now["texts"] != hashes["texts"]:
            found.append((Severity.MAJOR, f"decoded texts of {name} probes differ"))
    examples = new.golden["examples"]
    differing = [
        label
        for label, old_one in old.golden["examples"].items()
        if examples.get(label, old_one)["ids"] != old_one["ids"]
    ]
    for label in differing[:2]:
        echoes = [short(str(golden["examples"][label]["echo"])) for golden in (old.golden, new.golden)]
        found.append((Severity.NONE, f"{label} came back as {echoes[0]}, now as {echoes[1]}"))
    return found
