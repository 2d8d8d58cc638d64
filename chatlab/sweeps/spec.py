"""A spec: a TOML file that names dialogues, tokenizers and questions, whose product are the tasks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from chatlab.echo.cut import STRATEGIES
from chatlab.embedded import embedded_path
from chatlab.errors import ChatlabError, SweepError
from chatlab.folder import read_bytes
from chatlab.prompts.formats.registry import prompt_class
from chatlab.sweeps.keys import EMBEDDED
from chatlab.sweeps.task import SWITCH, TEXT, TEXTS, Task, fits, unknown

PAIRS = "a list of pairs [before, after]"

_TALKS = {"tokenizers": TEXTS, "dialogues": TEXTS, "prompts": TEXTS, "reply_start": TEXT, "skip_bad": SWITCH}
QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "drift": {**_TALKS, "strategies": TEXTS},
    "turns": {**_TALKS, "stored": TEXTS},
    "audit": {"tokenizers": TEXTS, "templates": TEXTS},
    "snapshot": {"tokenizers": TEXTS},
    "compare": {"pairs": PAIRS, "loader": TEXT},
}
"""Kind of question → the fields of its table, and what each of them is."""

_TOKENIZER = {"source": TEXT, "revision": TEXT, "untrusted": SWITCH}


def read_spec(path: str | Path) -> list[Task]:
    """Return the tasks that a spec asks for: the product of what each of its questions names.

    ``[tokenizers]`` and ``[dialogues]`` give names to sources; each ``[[drift]]``, ``[[turns]]``, ``[[audit]]``,
    ``[[snapshot]]`` and ``[[compare]]`` is a question. What a question leaves out, it asks of all. Paths are relative to
    the spec; ``embedded:NAME`` is what travels with chatlab.

    Args:
        path: a TOML file, or ``embedded`` for the one that travels with chatlab.

    Raises:
        SweepError: it cannot be read, or a table or field is wrong; both are named, with the line.
    """
    file = embedded_path("sweeps", "embedded.toml") if str(path) == "embedded" else Path(path)
    try:
        text = read_bytes(file).decode("utf-8")
        tables = tomllib.loads(text)
    except (ChatlabError, ValueError, RecursionError) as error:
        raise SweepError(f"{file} is no spec: {error}") from error
    spec = _Spec(file, text, tables)
    return list(spec.tasks())


@dataclass(frozen=True)
class _Spec:
    path: Path
    text: str
    tables: Mapping[str, Any]

    def tasks(self) -> Iterator[Task]:
        known = {"tokenizers", "dialogues", *QUESTIONS}
        for name in self.tables:
            if name not in known:
                raise self.wrong(name, 0, None, f"no such table {unknown(name, known)}")
        asked = [(kind, n, table) for kind in QUESTIONS for n, table in enumerate(self._questions(kind))]
        if not asked:
            raise SweepError(f"{self.path} asks nothing: write a table such as [[drift]] or [[snapshot]]")
        for kind, number, table in asked:
            yield from self._tasks(kind, number, table)

    def wrong(self, table: str, number: int, field: str | None, what: str) -> SweepError:
        """Return an error that names the file, table, field and line."""
        place = f"[[{table}]] {number + 1}" if table in QUESTIONS else f"[{table}]"
        line = self._line(table, number, field)
        at = f", line {line}" if line else ""
        return SweepError(f"{self.path}{at}: {place}{f', {field}' if field else ''}: {what}")

    def _line(self, table: str, number: int, field: str | None) -> int | None:
        lines = self.text.splitlines()
        heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[?\s*{re.escape(table)}\s*\]", line)]
        if number >= len(heads):
            return None
        begin = heads[number]
        end = next((n for n in range(begin + 1, len(lines)) if re.match(r"\s*\[", lines[n])), len(lines))
        wanted = re.compile(rf"\s*[\"']?{re.escape(field or '')}[\"']?\s*=")
        return next((n + 1 for n in range(begin, end) if field and wanted.match(lines[n])), begin + 1)

    def _questions(self, kind: str) -> list[Mapping[str, Any]]:
        tables = self.tables.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self.wrong(kind, 0, None, f"write [[{kind}]], with two brackets: there may be several")
        for number, table in enumerate(tables):
            for name, value in table.items():
                self._check(kind, number, name, value)
        return tables

    def _check(self, kind: str, number: int, name: str, value: Any) -> None:
        what = QUESTIONS[kind].get(name)
        if what is None:
            raise self.wrong(kind, number, name, f"no such field {unknown(name, QUESTIONS[kind])}")
        is_pairs = isinstance(value, list) and all(fits(one, TEXTS) and len(one) == 2 for one in value)
        if not (is_pairs if what == PAIRS else fits(value, what)):
            raise self.wrong(kind, number, name, f"it is {value!r:.80}: give {what}")
        if value == []:
            raise self.wrong(kind, number, name, "it is empty: leave the field out to ask of all")

    def _tasks(self, kind: str, number: int, table: Mapping[str, Any]) -> Iterator[Task]:
        if kind == "compare":
            yield from self._pairs(number, table)
            return
        plain = {name: table[name] for name in ("reply_start", "skip_bad", "strategies") if name in table}
        self._known(kind, number, "strategies", table.get("strategies", ()), STRATEGIES)
        for ways in product(
            self._tokenizers(kind, number, table),
            self._talks(kind, number, table),
            self._prompts(kind, number, table),
            [{"stored": way} for way in table.get("stored", ())] or [{}],
        ):
            yield Task(kind, {**plain, **{name: value for way in ways for name, value in way.items()}})

    def _known(self, kind: str, number: int, field: str, names: Sequence[str], known: Any) -> None:
        for name in names:
            if name not in known:
                raise self.wrong(kind, number, field, unknown(name, known))

    def _tokenizers(self, kind: str, number: int, table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        own = self.tables.get("tokenizers", {})
        if "tokenizers" not in table and "templates" not in table and not own:
            raise self.wrong(kind, number, None, "there are no tokenizers: name them in a table [tokenizers]")
        self._known(kind, number, "tokenizers", table.get("tokenizers", ()), own)
        for name in table.get("tokenizers", () if "templates" in table else own):
            given = self._source(name, own[name])
            if kind in ("audit", "snapshot"):  # they read every file in a child anyway
                given.pop("untrusted", None)
            yield given
        yield from ({"tokenizer": self._file(path)} for path in table.get("templates", ()))

    def _source(self, name: str, given: Any) -> dict[str, Any]:
        told = {"source": given} if isinstance(given, str) else given
        if not isinstance(told, dict) or "source" not in told:
            raise self.wrong("tokenizers", 0, name, 'give a source, or { source = "…", revision = "…" }')
        for field, value in told.items():
            if field not in _TOKENIZER:
                raise self.wrong("tokenizers", 0, name, f"no such field {unknown(field, _TOKENIZER)}")
            if not fits(value, _TOKENIZER[field]):
                raise self.wrong("tokenizers", 0, name, f"{field} is {value!r:.80}: give {_TOKENIZER[field]}")
        return {"tokenizer": self._file(told["source"]), **{n: v for n, v in told.items() if n != "source"}}

    def _talks(self, kind: str, number: int, table: Mapping[str, Any]) -> list[dict[str, Any]]:
        if kind not in ("drift", "turns"):
            return [{}]
        own = self.tables.get("dialogues", {})
        for name, value in own.items():
            if not isinstance(value, str):
                raise self.wrong("dialogues", 0, name, f"it is {value!r:.80}: give a path or {EMBEDDED}dialogues")
        self._known(kind, number, "dialogues", table.get("dialogues", ()), own)
        return [{"dialogues": self._file(own[name])} for name in table.get("dialogues", own)] or [{}]

    def _prompts(self, kind: str, number: int, table: Mapping[str, Any]) -> list[dict[str, Any]]:
        if kind not in ("drift", "turns"):
            return [{}]
        found = []
        for name in table.get("prompts", ("template",)):
            if name.endswith(".jinja"):
                found.append({"prompt": self._file(name)})
                continue
            try:
                if name != "template":
                    prompt_class(name)
            except ChatlabError as error:
                raise self.wrong(kind, number, "prompts", str(error)) from error
            found.append({"prompt": name})
        return found

    def _pairs(self, number: int, table: Mapping[str, Any]) -> Iterator[Task]:
        own = self.tables.get("tokenizers", {})
        if "pairs" not in table:
            raise self.wrong("compare", number, "pairs", f"it is missing: give {PAIRS}")
        loader = {"loader": table["loader"]} if "loader" in table else {}
        for pair in table["pairs"]:
            self._known("compare", number, "pairs", pair, own)
            before, after = (_with_revision(self._source(name, own[name])) for name in pair)
            yield Task("compare", {"before": before, "after": after, **loader})

    def _file(self, given: str) -> str:
        """Return a path as it is from here, where there is one; else what it is, such as a hub id."""
        if given.startswith(EMBEDDED):
            return given
        beside = self.path.absolute().parent / Path(given).expanduser()
        is_path = beside.exists() or given.endswith((".jinja", ".jsonl", ".json", ".parquet"))
        at = self.path.absolute().parent / given.rpartition("@")[0] if "@" in given else None
        return str(beside) if is_path or (at is not None and at.is_dir()) else given


def _with_revision(given: Mapping[str, Any]) -> str:
    return f"{given['tokenizer']}@{given['revision']}" if "revision" in given else str(given["tokenizer"])
