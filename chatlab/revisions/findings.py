"""From what changed in the files and what it did, to rulings: a kind, a severity and the reason for it. No words yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from chatlab.errors import RevisionCompareError
from chatlab.revisions.effects import Effects
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.rules import any_effect, severity_of
from chatlab.revisions.structure import FileChange, file_changes
from chatlab.severity import Severity
from chatlab.snapshots.stops import STOP_FILES
from chatlab.snapshots.views import Record

K = ChangeKind


class Reason(Enum):
    """Why a ruling is what it is."""

    FELT = auto()
    """Its kind differs in effect."""
    LATENT = auto()
    """It differs in the files; this loader does not read it, or no probe reaches it."""
    UNLOADABLE = auto()
    """One side does not load."""
    EXCEEDED = auto()
    """A chat template exceeds the limits of a render."""
    NO_JINJA = auto()
    """The new chat template cannot be parsed."""
    CAME = auto()
    """There is one more chat template, which only programs that name it use."""
    GONE = auto()
    """There is no chat template any more."""
    UNREACHED = auto()
    """The chat template means something else, in places where no probe goes."""
    SAME_MEANING = auto()
    """The chat template is spelled differently and parses to the same."""
    SPACING = auto()
    """The chat template writes other whitespace around a delimiter."""
    CONVERSATIONS = auto()
    """The chat template loses something else of conversations, or no longer loses something."""
    LIBRARY = auto()
    """Only libraries or options differ."""
    BYTES = auto()
    """Bytes differ that mean the same once parsed."""


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """One kind of change, how badly it hurts, and why."""

    kind: ChangeKind
    severity: Severity
    reason: Reason
    changes: tuple[FileChange, ...] = ()
    """What differs in the files, of this kind."""


@dataclass(frozen=True, kw_only=True)
class Causes:
    """All that differs between two records before anything is loaded."""

    changes: tuple[FileChange, ...]
    versions: tuple[tuple[str, str | None, str | None], ...]
    """Library → its version before and after."""
    options_differ: bool
    respelled: tuple[str, ...]
    """Files whose bytes differ."""

    @property
    def outside(self) -> bool:
        """Whether anything but files differs."""
        return bool(self.versions) or self.options_differ


def causes(before: Record, after: Record) -> Causes:
    """Return what differs between the files, libraries and options of two records."""
    names = sorted(before["versions"].keys() | after["versions"].keys())
    pairs = ((name, before["versions"].get(name), after["versions"].get(name)) for name in names)
    return Causes(
        changes=tuple(file_changes(before, after)),
        versions=tuple(pair for pair in pairs if pair[1] != pair[2]),
        options_differ=before["options"] != after["options"],
        respelled=tuple(name for name, file in before["files"].items() if file != after["files"].get(name)),
    )


UNREAD = {K.LIMITS: Severity.INFO, K.LAYOUT: Severity.INFO, K.CLASS: Severity.MINOR, K.LIBRARY: Severity.INFO}
"""Severity of a change in a file that had no effect; in every other kind another loader may well see it."""


def rulings(found: Causes, e: Effects) -> list[Ruling]:
    """Return one ruling a kind of change, the worst first.

    Raises:
        RevisionCompareError: nothing differs that could explain what differs in effect; law L5 does not hold for these.
    """
    ruled = [*_of_files(_attributed(found.changes, e), e, alone=not found.outside), *_of_libraries(found, e)]
    if not ruled and found.respelled:
        # The bytes mean the same JSON, yet another reader of them may take them otherwise.
        severity = any_effect(e) or Severity.INFO
        ruled = [Ruling(kind=K.LAYOUT, severity=severity, reason=Reason.BYTES)]
    if not ruled and e.any:
        raise RevisionCompareError(
            "equal files, libraries and options gave two different records: take both snapshots anew, with cache=False"
        )
    if e.load_differs and all(ruling.severity < Severity.BREAKING for ruling in ruled):
        ruled = [replace(ruling, severity=Severity.BREAKING, reason=Reason.UNLOADABLE) for ruling in ruled]
    return sorted(ruled, key=lambda ruling: (-ruling.severity, ruling.kind.number))


def _attributed(changes: Sequence[FileChange], e: Effects) -> list[FileChange]:
    """Return the changes, a file of stop ids that came or went whole being one of stop ids where those differ."""
    if e.stop_ids[0] == e.stop_ids[1]:
        return list(changes)
    whole = [change.path == "" and change.file in STOP_FILES for change in changes]
    return [replace(c, kind=K.SPECIALS) if moved else c for c, moved in zip(changes, whole, strict=True)]


def _of_files(changes: Sequence[FileChange], e: Effects, *, alone: bool) -> Iterator[Ruling]:
    kinds = sorted({change.kind for change in changes}, key=lambda kind: kind.number)
    for kind in kinds:
        own = tuple(change for change in changes if change.kind is kind)
        severity = severity_of(kind, e)
        # A file's setting may act through a component of another name: then the behaviour speaks, if it has one cause.
        if severity is None and alone and len(kinds) == 1:
            severity = any_effect(e)
        yield from _of_template(own, severity, e) if kind is K.CHAT_TEMPLATE else [_of_kind(kind, own, severity)]


def _of_kind(kind: ChangeKind, own: tuple[FileChange, ...], severity: Severity | None) -> Ruling:
    if severity is not None:
        return Ruling(kind=kind, severity=severity, reason=Reason.FELT, changes=own)
    unread = UNREAD.get(kind, Severity.MAJOR_LATENT)
    latent = Reason.LATENT if unread is Severity.MAJOR_LATENT else Reason.FELT
    return Ruling(kind=kind, severity=unread, reason=latent, changes=own)


def _of_template(own: tuple[FileChange, ...], felt: Severity | None, e: Effects) -> Iterator[Ruling]:
    severity, reason = felt or Severity.MAJOR_LATENT, _template_reason(felt, e)
    if reason is Reason.SAME_MEANING:
        severity = Severity.MINOR
    yield Ruling(kind=K.CHAT_TEMPLATE, severity=severity, reason=reason, changes=own)
    if e.spacing and reason is Reason.FELT:
        yield Ruling(kind=K.CHAT_TEMPLATE, severity=Severity.MAJOR, reason=Reason.SPACING)
    if e.newly_lost or e.no_longer_lost:
        worst = max((found.severity for found in e.newly_lost), default=Severity.INFO)
        yield Ruling(kind=K.CHAT_TEMPLATE, severity=worst, reason=Reason.CONVERSATIONS)


def _template_reason(felt: Severity | None, e: Effects) -> Reason:
    used = [change for change in e.templates if change.used]
    if any(e.exceeded):
        return Reason.EXCEEDED
    if any(change.error for change in used):
        return Reason.NO_JINJA
    if any(change.name == "default" and change.after is None for change in used):
        return Reason.GONE
    if e.templates and all(change.same_meaning for change in e.templates) and (felt or 0) <= Severity.MAJOR_LATENT:
        return Reason.SAME_MEANING
    if not used:
        return Reason.FELT if felt else Reason.LATENT
    if not e.any_render and all(change.before is None for change in used):
        return Reason.CAME
    return Reason.FELT if e.any_render else Reason.UNREACHED


def _of_libraries(found: Causes, e: Effects) -> list[Ruling]:
    if not found.outside:
        return []
    severity = None if found.changes else any_effect(e)
    return [Ruling(kind=K.LIBRARY, severity=severity or Severity.INFO, reason=Reason.LIBRARY)]
