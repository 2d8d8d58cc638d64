"""What differs in effect between two views: what one loader made of the files on each side. Data alone, no words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from chatlab.revisions.differences.behaviour import (
    CORE_FAMILIES,
    FamilyCount,
    ProbeChange,
    RenderRow,
    bos_changes,
    compare_probes,
    compare_renders,
)
from chatlab.revisions.differences.delimiters import Delimiter, Spacing, candidates, compare_delimiters, compare_spacing
from chatlab.revisions.differences.tables import TableDiff, changed_scores, merges_diff, vocabulary_diff
from chatlab.revisions.differences.templates import TemplateChange, compare_templates, written_words
from chatlab.revisions.files import FlagRow, files_tokens, flag_rows, retyped_tokens
from chatlab.revisions.structure import differences
from chatlab.snapshots.recorder import RESERVED
from chatlab.snapshots.stops import stop_ids
from chatlab.snapshots.views import Components, LoaderView, Record, loader_view
from chatlab.turns.audit.audit import conversations_of
from chatlab.turns.audit.finding import TemplateFinding

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ValueChange:
    """One value of a component, or one setting, that differs."""

    name: str
    """Its path inside the component, or the setting's name."""
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Effects:
    """All that differs in effect; empty and false where nothing does."""

    before_error: str | None
    after_error: str | None
    class_names: tuple[str, str]
    flags: tuple[FlagRow, ...]
    retyped: frozenset[str]
    """Pieces that a model file makes another kind of token."""
    components: Mapping[str, tuple[ValueChange, ...]]
    """Component name → its differing values."""
    vocabulary: TableDiff | None
    merges: TableDiff | None
    scores: tuple[str, ...]
    """Pieces of both sides whose scores differ."""
    specials: tuple[ValueChange, ...]
    settings: tuple[ValueChange, ...]
    templates: tuple[TemplateChange, ...]
    exceeded: tuple[str | None, str | None]
    """Which limit of the renders the chat template exceeded on each side."""
    renders: tuple[RenderRow, ...]
    probes: tuple[ProbeChange, ...]
    families: tuple[FamilyCount, ...]
    bos_changed: tuple[str, ...]
    stop_ids: tuple[tuple[int, ...], tuple[int, ...]]
    delimiters: tuple[Delimiter, ...]
    spacing: tuple[Spacing, ...]
    newly_lost: tuple[TemplateFinding, ...]
    """What conversations lose by the new chat template, and did not by the old one."""
    no_longer_lost: tuple[TemplateFinding, ...]
    """What they lost by the old one, and do not by the new one."""

    @property
    def load_differs(self) -> bool:
        """Whether exactly one side loads."""
        return (self.before_error is None) != (self.after_error is None)

    @property
    def core_ids(self) -> bool:
        """Whether ids of a chat, a turn border or a control token changed."""
        return any(p.ids_differ and p.family in CORE_FAMILIES for p in self.probes)

    @property
    def any_ids(self) -> bool:
        """Whether any ids changed."""
        return any(p.ids_differ for p in self.probes)

    @property
    def any_text(self) -> bool:
        """Whether a decoded text changed though the ids did not."""
        return any(not p.ids_differ for p in self.probes)

    @property
    def any_render(self) -> bool:
        """Whether any dialogue renders otherwise."""
        return any(not row.same for row in self.renders)

    @property
    def lost(self) -> tuple[str, ...]:
        """The delimiters that a parser no longer finds."""
        return tuple(sorted({d.token for d in self.delimiters if d.broken}))

    @property
    def changed_tokens(self) -> tuple[str, ...]:
        """The added tokens whose effect changed."""
        return tuple(sorted({row.token for row in self.flags if row.changed}))

    @property
    def only_placeholders(self) -> bool:
        """Whether all added tokens that changed are unused placeholders."""
        return bool(self.changed_tokens) and all(map(RESERVED.search, self.changed_tokens))

    @property
    def renumbered_tokens(self) -> bool:
        """Whether an added token that is no placeholder came, went or has another id."""
        return any(row.flag == "id" and row.changed and not RESERVED.search(row.token) for row in self.flags)

    @property
    def static(self) -> bool:
        """Whether anything but probes and renders differs."""
        return bool(
            self.class_names[0] != self.class_names[1]
            or self.changed_tokens
            or self.components
            or self.vocabulary
            or self.merges
            or self.scores
            or self.specials
            or self.settings
            or any(t.used for t in self.templates)
            or self.stop_ids[0] != self.stop_ids[1]
        )

    @property
    def any(self) -> bool:
        """Whether anything differs in effect."""
        return bool(self.load_differs or self.static or self.probes or self.any_render)


def effects(before: Record, after: Record, loader: str) -> Effects:
    """Return what differs between the views that ``loader`` has of two records."""
    old, new = loader_view(before, loader), loader_view(after, loader)
    probes, families = compare_probes(old, new)
    tokens = old.control_tokens | new.control_tokens | files_tokens(before) | files_tokens(after)
    known = candidates(tokens, written_words(old.template) | written_words(new.template))
    parts = old.components, new.components
    templates = tuple(compare_templates(old, new))
    lost, regained = _conversations(before, after, old, new) if any(t.used for t in templates) else ((), ())
    return Effects(
        before_error=old.error,
        after_error=new.error,
        class_names=(old.class_name, new.class_name),
        flags=tuple(flag_rows(before, after, old, new)),
        retyped=retyped_tokens(before, after),
        components=_components(*parts),
        vocabulary=_table(vocabulary_diff, parts[0].vocabulary, parts[1].vocabulary),
        merges=_table(merges_diff, parts[0].merges, parts[1].merges),
        scores=changed_scores(parts[0].scores, parts[1].scores),
        specials=_changes(old.specials, new.specials),
        settings=_changes(old.settings, new.settings),
        templates=templates,
        exceeded=(old.exceeded, new.exceeded),
        renders=tuple(compare_renders(old, new)),
        probes=tuple(probes),
        families=tuple(families),
        bos_changed=tuple(bos_changes(old, new)),
        stop_ids=(tuple(stop_ids(before, old)), tuple(stop_ids(after, new))),
        delimiters=tuple(compare_delimiters(old, new, known)),
        spacing=tuple(compare_spacing(old, new, known)),
        newly_lost=lost,
        no_longer_lost=regained,
    )


def _conversations(
    before: Record, after: Record, old: LoaderView, new: LoaderView
) -> tuple[tuple[TemplateFinding, ...], tuple[TemplateFinding, ...]]:
    """Return what conversations lose now, and what they lost before; nothing where one side has no template."""
    if old.template is None or new.template is None:
        return (), ()
    sides = conversations_of(before, old), conversations_of(after, new)
    keys = [{found.key for found in side} for side in sides]
    lost = tuple(found for found in sides[1] if found.key not in keys[0])
    return lost, tuple(found for found in sides[0] if found.key not in keys[1])


def _table(diff: Callable[[T, T], TableDiff], before: T | None, after: T | None) -> TableDiff | None:
    if before is None or after is None:
        return None
    found = diff(before, after)
    return found if found.added or found.removed or found.moved else None


def _components(before: Components, after: Components) -> dict[str, tuple[ValueChange, ...]]:
    names = sorted(before.parts.keys() | after.parts.keys())
    pairs = ((name, before.parts.get(name), after.parts.get(name)) for name in names)
    rows = {name: tuple(_leaves(old, new)) for name, old, new in pairs}
    return {name: changes for name, changes in rows.items() if changes}


def _leaves(before: Any, after: Any) -> list[ValueChange]:
    return [ValueChange(name="/".join(path), before=old, after=new) for path, old, new in differences(before, after)]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    names = sorted(before.keys() | after.keys())
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return tuple(ValueChange(name=name, before=old, after=new) for name, old, new in pairs if old != new)
