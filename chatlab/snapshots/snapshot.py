"""A snapshot: what a tokenizer is and does, as a value that can be kept, compared and trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.child.call import ChildLimits, in_child
from chatlab.errors import RevisionCompareError, TokenizerLoadError
from chatlab.files import write_whole
from chatlab.folder import read_bytes
from chatlab.results import Result
from chatlab.snapshots import recorder
from chatlab.snapshots.arguments import switches, texts
from chatlab.snapshots.cache import Cache
from chatlab.snapshots.corpus import probe_corpus
from chatlab.snapshots.opened import opened_place, reader_sha256, record_of
from chatlab.tokenizers.source import Source, resolve

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing


@dataclass(frozen=True, kw_only=True)
class Snapshot(Result):
    """Everything a tokenizer is and does: files, components, effective flags, template, probes.

    Law L5: equal files, equal library versions and an equal probe corpus give a byte-identical ``to_json()`` on any
    machine. Where it was found (``label``, ``revision``) therefore stands beside the record, not in it.
    """

    title = "What a tokenizer is and does"

    label: str
    """What to call it in a report: a hub id, a folder's name."""
    revision: str | None
    """The commit it was taken at, 40 hex digits, where the source has commits."""
    record: Mapping[str, Any] = field(repr=False)
    """What :mod:`chatlab.snapshots.recorder` wrote."""

    @property
    def loaders(self) -> tuple[str, ...]:
        """The loaders that were asked, the first one for the verdict."""
        return tuple(self.record["loaders"])

    @property
    def versions(self) -> Mapping[str, str | None]:
        """The library versions it was taken under."""
        versions: Mapping[str, str | None] = self.record["versions"]
        return versions

    @cached_property
    def sha256(self) -> str:
        """Hash of the record: equal hashes mean equal behaviour as far as the probes reach."""
        return recorder.sha256(self.to_json())

    @property
    def name(self) -> str:
        """Label and short commit."""
        return f"{self.label}@{self.revision[:8]}" if self.revision else self.label

    def view(self, loader: str | None = None) -> Mapping[str, Any]:
        """Return what one loader made of the files.

        Raises:
            RevisionCompareError: that loader was not asked.
        """
        name = loader or self.loaders[0]
        if name not in self.record["views"]:
            raise RevisionCompareError(
                f"{self.name} has no view of the {name} loader: it has {', '.join(self.loaders)}"
            )
        found: Mapping[str, Any] = self.record["views"][name]
        return found

    def loads(self, loader: str) -> bool:
        """Whether that loader was asked and made a tokenizer of the files."""
        return "error" not in self.record["views"].get(loader, {"error": "not asked"})

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before using it: a chat template that exceeded a limit, by loader; empty where all is well."""
        templates = [(name, exceeded(view.get("template", {}))) for name, view in self.record["views"].items()]
        return tuple(f"{name}: the chat template {told}: not rendered" for name, told in templates if told)

    def __str__(self) -> str:
        files = f"{len(self.record['files'])} files, {len(self.view().get('probes', {}))} probes through {', '.join(self.loaders)}"
        lines = [f"{self.name}: {files}; {self._told_versions()}", f"sha256 {self.sha256}", *self.warnings]
        return "\n".join(map(render.readable, lines))

    def body(self) -> str:
        """Return what it is, its files, and how its probes come back, as escaped HTML."""
        facts = [("loaders", ", ".join(self.loaders)), ("libraries", self._told_versions()), ("sha256", self.sha256)]
        files = [(name, file["size"], file["sha256"]) for name, file in self.record["files"].items()]
        shares = ("family", "probes", "echo differs")
        return "".join(
            [
                render.table_html(("what", "value"), facts, self.name),
                render.list_html(self.warnings) if self.warnings else "",
                render.details_html(f"{len(files)} files", render.table_html(("file", "bytes", "sha256"), files)),
                render.table_html(shares, self._families(), f"Probes through {self.loaders[0]}"),
            ]
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row a probe of the first loader: ``label``, ``family``, ``text``, ``ids``, ``echo``.

        ``ids`` and ``echo`` (special tokens kept) are ``None`` where the tokenizer refused the text.
        """
        import pandas as pd

        rows = [
            (label, probe["family"], probe["text"], probe.get("ids"), _text(probe.get("keep")))
            for label, probe in self.view().get("probes", {}).items()
        ]
        # As objects: the corpus holds lone surrogates, which a column of Arrow strings refuses.
        return pd.DataFrame(rows, columns=["label", "family", "text", "ids", "echo"], dtype=object)

    def figure(self) -> Drawing:
        """Draw how many probes of each family do not come back as they were written."""
        from chatlab.plots import plot_echo_families

        return plot_echo_families(self._families(), f"What comes back otherwise: {self.name}")

    def _families(self) -> list[tuple[str, int, int]]:
        """Return each family with its probes that have an echo, and how many of the echoes differ."""
        found: dict[str, list[bool]] = {}
        for probe in self.view().get("probes", {}).values():
            echo = _text(probe.get("keep"))
            found.setdefault(probe["family"], []).extend([] if echo is None else [echo != probe["text"]])
        return [(family, len(differ), sum(differ)) for family, differ in found.items()]

    def _told_versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions.items() if version is not None)

    def to_json(self) -> str:
        """Return the canonical JSON of the record."""
        return recorder.canonical(self.record)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the label and revision."""
        return {"label": self.label, "revision": self.revision, "record": dict(self.record)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot that ``to_dict`` wrote.

        Raises:
            RevisionCompareError: it is no snapshot, or one of a newer schema.
        """
        schema = data.get("record", {}).get("schema") if isinstance(data.get("record"), Mapping) else None
        if schema != recorder.SCHEMA:
            raise RevisionCompareError(
                f"no snapshot of schema {recorder.SCHEMA} (found {schema}): take it anew, or update chatlab"
            )
        return cls(label=data["label"], revision=data["revision"], record=data["record"])

    def save(self, path: str | Path) -> Path:
        """Write the snapshot to a file, whole or not at all.

        Raises:
            OutputError: it cannot be written there.
        """
        target = Path(path)
        write_whole(target, recorder.canonical(self.to_dict()))
        return target

    @classmethod
    def load(cls, path: str | Path) -> Snapshot:
        """Read a snapshot that ``save`` wrote.

        Raises:
            RevisionCompareError: the file is absent or no snapshot.
        """
        try:
            return cls.from_dict(json.loads(read_bytes(Path(path)).decode("utf-8")))
        except (TokenizerLoadError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise RevisionCompareError(f"{path} is no snapshot: {error}") from error


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def snapshot(
    source: str | Path | Source | Snapshot,
    loader: str | Sequence[str] | None = None,
    *,
    revision: str | None = None,
    prompts: Sequence[str] = (),
    also: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    cache: bool = True,
) -> Snapshot:
    """Write down what a tokenizer is and does.

    Args:
        source: a folder, file, hub id, git clone or GGUF file; ``name@revision`` as :func:`chatlab.tokenizers.source.resolve`
            reads it.
        loader: ``auto`` (AutoTokenizer), ``raw`` (tokenizer.json alone, as servers in Rust and JavaScript read it),
            ``sentencepiece``, ``slow``, or a transformers class name; several as a sequence. Left out, all that fit.
        revision: commit, tag or branch.
        prompts: texts of your own, probed like the corpus.
        also: added tokens of another tokenizer, probed here too.
        options: keyword arguments for ``from_pretrained``, such as ``{"legacy": True}``.
        cache: reuse a snapshot of the same files, versions and probes.

    Raises:
        SourceNotFound: there is nothing, or no tokenizer file in it.
        RevisionError: the revision is absent, short or malformed.
        TokenizerLoadError: a loader that was asked for does not load it, or none does.
        RevisionCompareError: an argument is of a wrong type.
    """
    asked = [loader] if isinstance(loader, str) else texts("loader", loader if loader is not None else ())
    taken = take(source, asked, revision=revision, prompts=prompts, also=also, options=options, cache=cache)
    require_loading([taken], asked)
    return taken


def require_loading(taken: Sequence[Snapshot], asked: Sequence[str] = ()) -> None:
    """Refuse to judge what does not load: the one rule of snapshot, lock and compare.

    Each loader that was asked for must load some of the snapshots; where none was asked for, at least one loader must.

    Raises:
        TokenizerLoadError: none does; a verdict would be about nothing.
    """
    wanted = asked or list(dict.fromkeys(name for s in taken for name in s.loaders))
    failed = [name for name in wanted if not any(s.loads(name) for s in taken)]
    if failed and (asked or failed == wanted):
        told = [f"{s.name} does not load with {failed[0]}: {s.view(failed[0])['error']}" for s in taken]
        raise TokenizerLoadError("; ".join(dict.fromkeys(told)))


def take(
    source: str | Path | Source | Snapshot,
    loaders: Sequence[str] = (),
    *,
    revision: str | None = None,
    prompts: Sequence[str] = (),
    also: Sequence[str] = (),
    injected: str | None = None,
    options: Mapping[str, Any] | None = None,
    cache: bool = True,
) -> Snapshot:
    """Return the snapshot of a source even where nothing loads it: the views then say why.

    ``injected`` is the token that a user types in a probe, where it must be the same one as on another side; left out,
    it is the one that the chat template writes most.
    """
    if isinstance(source, Snapshot):
        return source
    request: dict[str, Any] = {
        "corpus": probe_corpus(),
        "prompts": texts("prompts", prompts),
        "also": sorted(texts("also", also)),
        "options": switches(options),
    }
    found = source if isinstance(source, Source) else resolve(source, revision)
    if injected is not None:
        request["injected"] = injected
    if loaders:
        request["loaders"] = list(loaders)
    place = opened_place(found, request["options"])
    if place is not None or any(found.folder.glob("*.gguf")):
        request["reader"] = reader_sha256()
    record = recorded(found, request, cache=cache, place=place)
    return Snapshot(label=found.name, revision=found.revision, record=record)


def recorded(source: Source, request: dict[str, Any], *, cache: bool, place: Path | None) -> Mapping[str, Any]:
    """Return the record of a source, made by a child, or from the cache where the same one was made before.

    ``load_tokenizer`` opens ``place`` in place of the recorder's own ``auto``.
    """
    versions = recorder.library_versions()
    key = cache_key(source.folder, request, versions)
    kept = Cache("snapshots").get(key) if cache else None
    if kept is not None:
        return kept
    asked = {
        "request": {**request, "folder": str(source.folder.absolute()), "versions": versions},
        "place": None if place is None else str(place.absolute()),
        "limits": {name: getattr(recorder, name) for name in _RENDER_LIMITS},
    }
    record: dict[str, Any] = in_child(record_of, asked, source.name, limits_of(source.folder))
    if cache:
        Cache("snapshots").put(key, record)
    return record


def limits_of(folder: Path) -> ChildLimits:
    """Return what the files of a folder may take of time and memory."""
    files = recorder.tokenizer_files(folder)
    return ChildLimits.for_bytes(sum(file.stat().st_size for name, file in files.items() if not name.endswith(".gguf")))


_RENDER_LIMITS = ("TEMPLATE_SECONDS", "TEMPLATE_BYTES", "TEMPLATE_CHARACTERS", "WAIT_SECONDS")


def cache_key(folder: Path, request: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    """Return a name for (files, versions, probes, recorder): by law L5 they decide the record."""
    files = {name: recorder.file_sha256(path) for name, path in recorder.tokenizer_files(folder).items()}
    code = recorder.sha256(Path(recorder.__file__).read_bytes())
    return recorder.sha256(recorder.canonical({"files": files, "versions": dict(versions), "code": code, **request}))


def exceeded(row: Mapping[str, Any]) -> str | None:
    """Return which limit a chat template exceeded, of a view's template or of one render; ``None`` for an honest one."""
    return f"exceeded {row['exceeded']}" if "exceeded" in row else None
