"""The same fact may stand in several files: what each says of added tokens and of stops, and which has the last word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.revisions.kinds import ChangeKind
from chatlab.snapshots.recorder import FLAGS, SPECIAL_NAMES, canonical, file_tokens, special_content
from chatlab.snapshots.stops import field_of, stop_id_table
from chatlab.snapshots.views import AddedToken, LoaderView, Record, added_tokens

Documents = Mapping[str, Any]
"""Name → the parsed file."""

Value = int | bool | None


@dataclass(frozen=True, kw_only=True)
class FlagRow:
    """One flag of one added token: what each file says, and what the loader made of it."""

    token: str
    flag: str
    before: Value
    """Effective value; ``None`` where the token is absent."""
    after: Value
    json_before: Value
    """What ``tokenizer.json`` says."""
    json_after: Value
    config_before: Value
    """What ``tokenizer_config.json`` says."""
    config_after: Value

    @property
    def changed(self) -> bool:
        """Whether the effective value changed; a token that comes or goes changes its id, and not each flag besides."""
        known = self.before is not None and self.after is not None
        return bool(self.before != self.after) and (known or self.flag == "id")

    @property
    def disagree(self) -> bool:
        """Whether the two files of one side say different things."""
        pairs = ((self.json_before, self.config_before), (self.json_after, self.config_after))
        return any(one is not None and two is not None and one != two for one, two in pairs)

    @property
    def told(self) -> bool:
        """Whether there is anything to tell of it."""
        differ = self.json_before != self.json_after or self.config_before != self.config_after
        return self.changed or self.disagree or differ


Tokens = Mapping[str, AddedToken]


def flag_rows(before: Record, after: Record, old: LoaderView, new: LoaderView) -> list[FlagRow]:
    """Return each flag that changed in effect or in a file, or over which the files of one side disagree."""
    sides = [(view.added_tokens, *_said(record)) for record, view in ((before, old), (after, new))]
    effective = {**sides[1][0], **sides[0][0]}

    def order(token: str) -> tuple[int, str]:
        number = effective[token].token_id
        return -1 if number is None else number, token

    rows = (_flag_row(token, flag, *sides) for token in sorted(effective, key=order) for flag in ("id", *FLAGS))
    return [row for row in rows if row.told]


def _said(record: Record) -> tuple[Tokens, Tokens]:
    return json_tokens(record["documents"]), config_tokens(record["documents"])


def _flag_row(
    token: str, flag: str, before: tuple[Tokens, Tokens, Tokens], after: tuple[Tokens, Tokens, Tokens]
) -> FlagRow:
    old, new = ([_value(tokens, token, flag) for tokens in side] for side in (before, after))
    return FlagRow(
        token=token,
        flag=flag,
        before=old[0],
        after=new[0],
        json_before=old[1],
        json_after=new[1],
        config_before=old[2],
        config_after=new[2],
    )


def _value(tokens: Tokens, token: str, flag: str) -> Value:
    return tokens[token].value(flag) if token in tokens else None


def json_tokens(documents: Documents) -> Tokens:
    """Return the added tokens of ``tokenizer.json``."""
    document = documents.get("tokenizer.json")
    return added_tokens(document.get("added_tokens")) if isinstance(document, dict) else {}


def config_tokens(documents: Documents) -> Tokens:
    """Return the ``added_tokens_decoder`` of ``tokenizer_config.json``."""
    document = documents.get("tokenizer_config.json")
    decoder = document.get("added_tokens_decoder") if isinstance(document, dict) else None
    rows = decoder.items() if isinstance(decoder, dict) else ()
    return added_tokens([{**t, "id": int(i)} for i, t in rows if isinstance(t, dict) and i.isdecimal()])


def files_tokens(record: Record) -> frozenset[str]:
    """Return every added or control token that some file names."""
    return frozenset(file_tokens(dict(record["documents"])))


def retyped_tokens(before: Record, after: Record) -> frozenset[str]:
    """Return the pieces that a model file makes another kind of token: control, user-defined, plain."""
    sides = [_piece_kinds(record["documents"]) for record in (before, after)]
    return frozenset(name for name in sides[0].keys() | sides[1].keys() if sides[0].get(name) != sides[1].get(name))


def _piece_kinds(documents: Documents) -> dict[str, str]:
    known = (document.get("kinds") for document in documents.values() if isinstance(document, dict))
    return {piece: kind for kinds in known if isinstance(kinds, dict) for piece, kind in kinds.items()}


# -- contradictions ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """One fact about which the files of one folder say different things, so that programs read different tokenizers."""

    kind: ChangeKind
    name: str
    """A token, a flag of a token, or the role of a special token."""
    values: Mapping[str, Any]
    """File → what it says; ``None`` where it does not know the token at all."""


def contradictions(documents: Documents) -> list[Contradiction]:
    """Return the ids and flags of added tokens, and the special tokens, over which files disagree."""
    facts = [(ChangeKind.ADDED_TOKENS, _token_facts(documents)), (ChangeKind.SPECIALS, _special_facts(documents))]
    return [
        Contradiction(kind=kind, name=name, values=values)
        for kind, said in facts
        for name, values in sorted(said.items())
        if len({canonical(value) for value in values.values()}) > 1
    ]


def _token_facts(documents: Documents) -> dict[str, dict[str, Value]]:
    found: dict[str, dict[str, Value]] = {}
    by_file = {"tokenizer.json": json_tokens(documents), "tokenizer_config.json": config_tokens(documents)}
    for file, tokens in by_file.items():
        for token in tokens.values():
            found.setdefault(f"{token.content}/id", {})[file] = token.token_id
            for flag, value in token.flags.items():
                found.setdefault(f"{token.content}/{flag}", {})[file] = value
    listed = documents.get("added_tokens.json")
    for content, number in listed.items() if isinstance(listed, dict) else ():
        # A token that the others do not know is one as well: whoever reads this file reads another vocabulary.
        known = found.setdefault(f"{content}/id", {"tokenizer.json": None} if "tokenizer.json" in documents else {})
        known["added_tokens.json"] = number
    return found


def _special_facts(documents: Documents) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        for role in SPECIAL_NAMES:
            content = special_content(field_of(documents, file, role))
            if content is not None:
                found.setdefault(role, {})[file] = content
    return found


# -- stop ids ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StopRow:
    """What one file says ends a reply."""

    file: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None


def stop_rows(before: Record, after: Record, old: LoaderView, new: LoaderView) -> list[StopRow]:
    """Return what each file says ends a reply, on both sides."""
    tables = stop_id_table(before, old), stop_id_table(after, new)
    files = sorted(tables[0].keys() | tables[1].keys())
    return [StopRow(file=file, before=tables[0].get(file), after=tables[1].get(file)) for file in files]


# -- the last word -------------------------------------------------------------------------------------------


def shadowing(record: Record, view: LoaderView) -> list[str]:
    """Return lines that say which file is hidden behind which; flags are judged by what the loader really made of them."""
    files, documents = record["files"], record["documents"]
    lines = []
    model = next((name for name in files if name.endswith(".model")), None)
    vocabulary = [name for name in (model, "vocab.json", "merges.txt", "vocab.txt") if name in files]
    if "tokenizer.json" in files and vocabulary and view.loader in ("auto", "raw"):
        lines.append(f"tokenizer.json shadows {', '.join(map(str, vocabulary))}")
    lines += _flag_lines(json_tokens(documents), config_tokens(documents), view.added_tokens)
    if "chat_template.jinja" in documents and field_of(documents, "tokenizer_config.json", "chat_template") is not None:
        lines.append("chat_template.jinja shadows the template in tokenizer_config.json")
    stops = stop_id_table(record, view)
    if len(set(stops.values())) > 1:
        said = "; ".join(f"{name} says {list(ids)}" for name, ids in stops.items())
        lines.append(f"the files disagree on what ends a reply: {said}")
    return lines


def _flag_lines(json_side: Tokens, config_side: Tokens, effective: Tokens) -> list[str]:
    disagreements = [
        (token, flag)
        for token in json_side.keys() & config_side.keys() & effective.keys()
        for flag in FLAGS
        if _value(json_side, token, flag) != _value(config_side, token, flag)
    ]
    if not disagreements:
        return []
    config_wins = sum(_value(effective, *key) == _value(config_side, *key) for key in disagreements)
    if config_wins == len(disagreements):
        return [f"tokenizer_config.json shadows tokenizer.json in {config_wins} flags of added tokens"]
    if config_wins == 0:
        return [f"tokenizer.json shadows tokenizer_config.json in {len(disagreements)} flags of added tokens"]
    return [f"of {len(disagreements)} flags over which the files disagree, tokenizer_config.json decides {config_wins}"]
