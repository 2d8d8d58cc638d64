"""What a snapshot's record says, as values: read once, so that nobody else needs to know how a recorder spells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from chatlab.snapshots.recorder import FLAGS

Record = Mapping[str, Any]
"""What :mod:`chatlab.snapshots.recorder` wrote; plain JSON."""


@dataclass(frozen=True)
class Refused:
    """Stands where a text would: the library refused. Two refusals are equal, since libraries word them differently."""

    why: str = field(compare=False)

    def __str__(self) -> str:
        return self.why


Echo = str | Refused | None
"""A decoded text, or why there is none; ``None`` where nobody asked."""


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """An added token: its text, its id, and its flags as far as they are told."""

    content: str
    token_id: int | None
    flags: Mapping[str, bool]

    def value(self, name: str) -> int | bool | None:
        """Return the id, or a flag; ``None`` where it is not told."""
        return self.token_id if name == "id" else self.flags.get(name)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One text through a tokenizer: its ids, and what they decode to."""

    label: str
    family: str
    roles: str
    """Of a chat render: ``plain``, ``system``, ``tools`` …; ``plain`` for every other text."""
    text: str
    ids: tuple[int, ...] | None
    error: str | None
    """Why there are no ids."""
    keep: Echo
    """Decoded with special tokens kept."""
    skip: Echo
    """Decoded without special tokens."""
    joined: Echo
    """Decoded one id at a time, as a naive stream would."""

    @property
    def echo(self) -> str | None:
        """The decoded text with special tokens kept; ``None`` where there is none."""
        return self.keep if isinstance(self.keep, str) else None

    @property
    def outcome(self) -> tuple[object, ...]:
        """All that came of the text."""
        return self.ids, self.keep, self.skip, self.joined


@dataclass(frozen=True, kw_only=True)
class Render:
    """One dialogue through a chat template."""

    label: str
    roles: str
    template: str
    """The template's name."""
    text: str | None
    error: str | None
    """Why there is no text."""
    exceeded: str | None
    """Which limit the template exceeded."""

    @property
    def shown(self) -> str:
        """The text, or what stands in its place."""
        told = self.exceeded and f"exceeded {self.exceeded}"
        return self.text if self.text is not None else self.error or told or "no template"


@dataclass(frozen=True, kw_only=True)
class Template:
    """One of the chat templates of a tokenizer."""

    name: str
    """``default``, or the name by which a program asks for it."""
    text: str
    source: str | None
    """The file it stands in, or ``library``."""
    used: bool
    """Whether this loader reads it; other programs may read the others."""
    clock: bool
    """Whether its renders move with the day."""
    volatile: bool
    """Whether its renders depend on chance or on the process, so that no two need be the same."""
    unreached: tuple[tuple[int, str], ...]
    """Line and kind of the branches that no probe goes through."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts of a tokenizer."""

    parts: Mapping[str, Any]
    """Normalizer, pre-tokenizer, post-processor, decoder … as the library wrote them, and the model's own switches."""
    vocabulary: Mapping[str, int] | None
    """Piece → id."""
    merges: tuple[str, ...] | None
    scores: Mapping[str, float] | None
    """Piece → score."""


@dataclass(frozen=True, kw_only=True)
class LoaderView:
    """What one loader made of the files; empty, with ``error``, where it could not load them."""

    loader: str
    error: str | None
    class_name: str
    settings: Mapping[str, Any]
    specials: Mapping[str, Any]
    """``bos_token`` and the like → ``content`` and ``id``; ``all`` → ``contents`` and ``ids``."""
    added_tokens: Mapping[str, AddedToken]
    components: Components
    template: str | None
    """Text of the chat template that is used unless a program names another."""
    exceeded: str | None
    """Which limit its renders exceeded, as words; ``None`` for an honest one."""
    templates: tuple[Template, ...]
    """Every chat template of the files and of the library, wherever it stands."""
    renders: Mapping[str, Render]
    texts: Mapping[str, Probe]
    chats: Mapping[str, Probe]
    """The renders, encoded and decoded again."""
    sequences: Mapping[str, Probe]

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """The texts that are read as one token whatever stands around them."""
        named = {s["content"] for name, s in self.specials.items() if name != "all"}
        return frozenset(filter(None, {*self.added_tokens, *named, *self._every_special}))

    @cached_property
    def skipped_tokens(self) -> frozenset[str]:
        """The texts that decoding without special tokens takes out."""
        special = {t.content for t in self.added_tokens.values() if t.flags.get("special")}
        return frozenset(filter(None, {*self._every_special, *special}))

    @property
    def _every_special(self) -> tuple[str, ...]:
        return tuple(self.specials.get("all", {}).get("contents", ()))

    def special_id(self, name: str) -> int | None:
        """Return the id of ``bos_token`` and the like."""
        found: int | None = self.specials.get(name, {}).get("id")
        return found


def loader_view(record: Record, loader: str) -> LoaderView:
    """Return what one loader made of the files of a record."""
    view = record["views"][loader]
    template, chats, sequences = view.get("template", {}), view.get("chats", {}), view.get("sequences", {})
    return LoaderView(
        loader=loader,
        error=view.get("error"),
        class_name=view.get("class", ""),
        settings=view.get("settings", {}),
        specials=view.get("specials", {}),
        added_tokens=added_tokens(view.get("added_tokens")),
        components=_components(record["tables"], view.get("components", {})),
        template=_text(template.get("text")),
        exceeded=f"exceeded {template['exceeded']}" if "exceeded" in template else None,
        templates=tuple(map(_template, view.get("templates", ()))),
        renders={label: _render(label, chat) for label, chat in chats.items()},
        texts=dict(_probes(view.get("probes", {}))),
        chats=dict(_probes({label: {**row, "family": "chat"} for label, row in chats.items() if "text" in row})),
        sequences=dict(_probes({name: {"text": "", **row, "family": "sequence"} for name, row in sequences.items()})),
    )


def added_tokens(rows: Any) -> dict[str, AddedToken]:
    """Return a list of added tokens, as files and libraries spell it, by content."""
    known = rows if isinstance(rows, list | tuple) else []
    return {
        t["content"]: _added_token(t) for t in known if isinstance(t, Mapping) and isinstance(t.get("content"), str)
    }


def _added_token(row: Mapping[str, Any]) -> AddedToken:
    flags = {flag: row[flag] for flag in FLAGS if isinstance(row.get(flag), bool)}
    token_id = row.get("id")
    return AddedToken(content=row["content"], token_id=token_id if isinstance(token_id, int) else None, flags=flags)


def _template(row: Mapping[str, Any]) -> Template:
    moves = row.get("moves", ())
    return Template(
        name=row["name"],
        text=row["text"],
        source=row.get("source"),
        used=row["used"],
        clock="clock" in moves,
        volatile=bool({"random", "address"}.intersection(moves)),
        unreached=tuple((branch["line"], branch["branch"]) for branch in row.get("unreached", ())),
    )


def _render(label: str, chat: Mapping[str, Any]) -> Render:
    return Render(
        label=label,
        roles=chat["roles"],
        template=chat.get("template", "default"),
        text=chat.get("text"),
        error=chat.get("render_error"),
        exceeded=chat.get("exceeded"),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _probes(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Probe]]:
    for label, row in rows.items():
        ids = row.get("ids")
        yield (
            label,
            Probe(
                label=label,
                family=row["family"],
                roles=row.get("roles", "plain"),
                text=row["text"],
                ids=None if ids is None else tuple(ids),
                error=row.get("error"),
                keep=_echo(row.get("keep")),
                skip=_echo(row.get("skip")),
                joined=_echo(row.get("joined")),
            ),
        )


def _echo(value: Any) -> Echo:
    return Refused(str(value.get("error"))) if isinstance(value, Mapping) else value


def _components(tables: Mapping[str, Any], components: Mapping[str, Any]) -> Components:
    parts = {name: value for name, value in components.items() if name != "version"}
    model = dict(parts.get("model") or {})
    vocabulary, merges, scores = (tables.get(model.pop(name, None)) for name in ("vocab", "merges", "scores"))
    if "model" in parts:
        parts["model"] = model
    pieces = vocabulary if isinstance(vocabulary, Mapping) else None
    return Components(
        parts=parts,
        vocabulary=pieces,
        merges=None if merges is None else tuple(merges),
        scores=scores_by_piece(pieces, scores),
    )


def scores_by_piece(pieces: Any, scores: Any) -> dict[str, float] | None:
    """Return piece → score of a vocabulary and the list of its scores; ``None`` where there are no scores."""
    if not isinstance(pieces, Mapping) or not isinstance(scores, list):
        return None
    return {piece: scores[number] for piece, number in pieces.items() if number < len(scores)}
