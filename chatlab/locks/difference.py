"""Two lock entries against each other: which parts, ids and texts differ, by their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.forms import short
from chatlab.locks.latent import ANY_FILE, file_of
from chatlab.locks.lockfile import Entry
from chatlab.revisions.differences.behaviour import CORE_FAMILIES, natural
from chatlab.revisions.differences.delimiters import lost
from chatlab.severity import Severity

COMPONENT_SEVERITY = {
    "stop_ids": Severity.BREAKING,
    "added_token_ids": Severity.BREAKING,
    "bos_token": Severity.BREAKING,
    "eos_token": Severity.BREAKING,
    "renders_plain": Severity.BREAKING,
    "specials": Severity.MAJOR,
    "vocab": Severity.MAJOR,
    "settings": Severity.MINOR,
    "template_text": Severity.MINOR,
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
        found += [*_components(old, new), *_golden(old, new)]
    return Difference(
        severity=max((s for s, _ in found), default=Severity.NONE), lines=tuple(line for _, line in found)
    )


def _components(old: Entry, new: Entry) -> Iterator[tuple[Severity, str]]:
    for name in sorted(old.components.keys() | new.components.keys()):
        if old.components.get(name) == new.components.get(name):
            continue
        file = file_of(name)
        if file is None:
            other = Severity.MAJOR if name.startswith("renders_") else Severity.MAJOR_LATENT
            yield COMPONENT_SEVERITY.get(name, other), f"{name.replace('_', ' ')} differs"
        elif file == ANY_FILE or (file in old.files and file in new.files):  # else the file itself came or went
            yield Severity.MAJOR_LATENT, f"{name} differs"


def _golden(old: Entry, new: Entry) -> list[tuple[Severity, str]]:
    if old.golden["corpus"] != new.golden["corpus"]:
        return [
            (Severity.MAJOR_LATENT, "the probe corpus is another one: lock anew with --update to compare ids again")
        ]
    return [
        *_delimiters(old, new),
        *_families(old, new),
        *_drift(old, new),
        *_examples(old, new),
        *_conversations(old, new),
    ]


def _delimiters(old: Entry, new: Entry) -> Iterator[tuple[Severity, str]]:
    before, after = old.golden["delimiters"], new.golden["delimiters"]
    shared = [(before[form], after[form]) for form in before if form in after]
    gone = {one["token"] for one, two in shared if any(lost(one[way], two[way]) for way in ("kept", "bare"))}
    if gone:
        yield Severity.BREAKING, f"a parser no longer finds {', '.join(sorted(gone))} as before"


def _families(old: Entry, new: Entry) -> Iterator[tuple[Severity, str]]:
    before, after = old.golden["families"], new.golden["families"]
    other_tokens = old.golden["probed"]["tokens"] != new.golden["probed"]["tokens"]
    for name in sorted(before.keys() | after.keys()):
        if name == "added" and other_tokens:  # an update chooses anew which tokens to probe
            continue
        hashes, now = before.get(name), after.get(name)
        family, _, roles = name.partition(" ")
        # Other ids of other renders follow from the template, which has its own severity; of equal renders they break.
        renders = f"renders_{roles or 'plain'}"
        breaks = not roles or old.components.get(renders) == new.components.get(renders)
        severity = Severity.BREAKING if family in CORE_FAMILIES and breaks else Severity.MAJOR
        if hashes is None:
            yield severity, f"ids of {name} probes are not in the lock"
        elif now is None or now["ids"] != hashes["ids"]:
            yield severity, f"ids of {name} probes differ"
        elif now["texts"] != hashes["texts"]:
            yield Severity.MAJOR, f"decoded texts of {name} probes differ"


def _drift(old: Entry, new: Entry) -> Iterator[tuple[Severity, str]]:
    before, after = old.golden["drift"], new.golden["drift"]
    differing = [label for label in sorted(before.keys() | after.keys()) if before.get(label) != after.get(label)]
    if differing:
        first, *_ = differing
        told = " → ".join(str((side.get(first) or {}).get("kept", "absent")) for side in (before, after))
        yield Severity.MAJOR, f"drift of {len(differing)} prompts differs, of {first} with specials kept: {told}"


def _conversations(old: Entry, new: Entry) -> Iterator[tuple[Severity, str]]:
    """Yield what conversations lose that they did not when it was locked; an older lock does not say."""
    before, after = old.golden.get("conversations"), new.golden.get("conversations", {})
    if before is None:
        return
    for key in sorted(after.keys() - before.keys()):
        yield _severity(after[key]), f"the chat template loses something of conversations: {key}"
    for key in sorted(before.keys() - after.keys()):
        yield Severity.INFO, f"the chat template no longer loses something of conversations: {key}"


def _severity(label: str) -> Severity:
    try:
        return Severity.from_label(label)
    except ValueError:  # a lock is a file of anybody's
        return Severity.MAJOR


def _examples(old: Entry, new: Entry) -> Iterator[tuple[Severity, str]]:
    before, after = old.golden["examples"], new.golden["examples"]
    labels = sorted(before.keys() | after.keys(), key=lambda label: (label not in before, natural(label)))
    differing = [label for label in labels if _told(before.get(label)) != _told(after.get(label))]
    for label in differing[:2]:
        echoes = [short(str(side.get(label, {}).get("echo"))) for side in (before, after)]
        yield Severity.MAJOR, f"{label} came back as {echoes[0]}, now as {echoes[1]}"


def _told(example: Mapping[str, Any] | None) -> Any:
    # Two libraries may refuse the same text in other words: that is no difference.
    return example and (example["text"], example["ids"], isinstance(example["echo"], dict) or example["echo"])
