"""The same files under several library versions: each in an environment of its own, and who agrees with whom."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import ChatlabError, RevisionCompareError, VersionInstallError
from chatlab.revisions import recorder
from chatlab.revisions.behaviour import drift_of, probes
from chatlab.revisions.cache import Cache
from chatlab.revisions.compare import compare_snapshots
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.corpus import probe_corpus
from chatlab.revisions.report import code, md
from chatlab.revisions.severity import Severity
from chatlab.revisions.snapshot import Snapshot, cache_key
from chatlab.tokenizers.cache import cache_folder
from chatlab.tokenizers.source import Source, resolve

if TYPE_CHECKING:
    import pandas as pd

_VERSION = re.compile(r"\d+(\.\d+){1,3}((a|b|rc|\.post|\.dev)\d+)?")
TIMEOUT_SECONDS = 600
PARALLEL = 2


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A Python of its own that holds one version of transformers."""

    version: str
    python: Path

    def versions(self) -> dict[str, str | None]:
        """Return the library versions inside, without starting it twice for the same answer."""
        kept = self.python.parent.parent / "chatlab-versions.json"
        if not kept.is_file():
            kept.write_text(
                _run([str(self.python), "-P", recorder.__file__, "--versions"], self.version), encoding="utf-8"
            )
        found: dict[str, str | None] = json.loads(kept.read_text(encoding="utf-8"))
        return found


def find_uv() -> list[str]:
    """Return the command that runs uv.

    Raises:
        VersionInstallError: there is no uv.
    """
    if found := shutil.which("uv"):
        return [found]
    if recorder._installed("uv"):
        return [sys.executable, "-m", "uv"]
    raise VersionInstallError("other library versions need uv to make their environments: pip install uv")


def requirements(version: str) -> list[str]:
    """Return what is installed beside a transformers version: what its tokenizers need, and no torch."""
    major = int(version.split(".")[0])
    companions = (
        ["sentencepiece", "protobuf", "tiktoken", "jinja2"]
        if major >= 5
        else ["sentencepiece<0.2.1", "protobuf<5", "tiktoken", "jinja2", "numpy<2"]
    )
    return [f"transformers=={version}", *companions]


def environment(version: str, progress: Callable[[str], None] | None = None) -> Environment:
    """Return the environment of a transformers version, made on first use and kept.

    Raises:
        VersionInstallError: the version is malformed, or cannot be installed.
    """
    if not _VERSION.fullmatch(version):
        raise VersionInstallError(f"{version!r} is no version: give one like 4.46.3")
    wanted = requirements(version)
    key = recorder.sha256(recorder.canonical([wanted, sys.version_info[:2]]))[:12]
    target = cache_folder("environments", f"transformers-{version}-{key}")
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (target / "ready").is_file():
        return Environment(version=version, python=python)
    uv = find_uv()
    if progress is not None:
        progress(f"transformers {version}: making its environment")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run([*uv, "venv", "--quiet", "--python", sys.executable, str(target)], version)
        _run([*uv, "pip", "install", "--quiet", "--python", str(python), *wanted], version)
    except VersionInstallError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    (target / "ready").touch()
    return Environment(version=version, python=python)


def _run(command: list[str], version: str) -> str:
    # Nothing of this process' Python may leak into the other one.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    clean.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
    try:
        done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise VersionInstallError(f"transformers {version} took longer than {TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told = next(
            (line for line in lines if "no version" in line or "Because" in line or "unsatisfiable" in line),
            lines[-1] if lines else "no message",
        )
        raise VersionInstallError(f"transformers {version}: {told[:300]}")
    return done.stdout


def snapshot_under(
    version: str,
    source: Source,
    loader: str | Sequence[str] | None = None,
    *,
    prompts: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Snapshot:
    """Take a snapshot under another transformers version, in its own environment and process.

    Raises:
        VersionInstallError: the version cannot be installed or run.
    """
    env = environment(version, progress)
    request: dict[str, Any] = {
        "corpus": probe_corpus(),
        "prompts": list(prompts),
        "also": [],
        "options": dict(options or {}),
    }
    if loader is not None:
        request["loaders"] = [loader] if isinstance(loader, str) else list(loader)
    key = cache_key(source.folder, request, env.versions())
    record = Cache("snapshots").get(key)
    if record is None:
        if progress is not None:
            progress(f"transformers {version}: tokenizing")
        record = _record_in(env, {**request, "folder": str(source.folder.resolve())})
        Cache("snapshots").put(key, record)
    return Snapshot(label=f"{source.name} under {version}", revision=source.revision, record=record)


def _record_in(env: Environment, request: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        _run([str(env.python), "-P", recorder.__file__, str(asked), str(answered)], env.version)
        found: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return found


# -- the matrix ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one version makes of the files."""

    version: str
    group: str
    """Versions of one letter give equal ids on every probe that none refuses; ``–`` where there is no answer."""
    class_name: str
    drift: tuple[int | None, ...]
    """Specials-skipped drift of each prompt of your own, in code points."""
    severity: Severity | None
    """Against the first version that loads; ``None`` where there is no answer."""
    error: str | None = None
    """Why there is none: it did not install, or did not load."""


@dataclass(frozen=True, kw_only=True)
class VersionMatrix:
    """The same files under several library versions."""

    source: str
    loader: str
    cells: tuple[Cell, ...]
    agreement: tuple[tuple[float | None, ...], ...]
    """Share of probes with equal ids, each version against each; ``None`` where one of them has no answer."""
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict, repr=False, compare=False)

    @property
    def severity(self) -> Severity:
        """The worst of all cells; a version that does not load where another does is BREAKING."""
        answered = [c.severity for c in self.cells if c.severity is not None]
        if answered and any(c.error for c in self.cells):
            return Severity.BREAKING
        return max(answered, default=Severity.NONE)

    @property
    def exit_code(self) -> int:
        """As of a comparison; 3 when no version gives an answer."""
        return self.severity.exit_code if any(c.error is None for c in self.cells) else 3

    def compare(self, before: str, after: str) -> Comparison:
        """Return the whole comparison of two versions.

        Raises:
            RevisionCompareError: one of them has no snapshot.
        """
        for version in (before, after):
            if version not in self.snapshots:
                raise RevisionCompareError(f"transformers {version} gave no snapshot")
        return compare_snapshots(self.snapshots[before], self.snapshots[after], loader=self.loader)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        cells = [
            {**vars(c), "drift": list(c.drift), "severity": c.severity.label if c.severity is not None else None}
            for c in self.cells
        ]
        return {
            "source": self.source,
            "loader": self.loader,
            "cells": cells,
            "agreement": [list(row) for row in self.agreement],
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row a version."""
        import pandas as pd

        return pd.DataFrame(self.to_dict()["cells"])

    def agreement_frame(self) -> pd.DataFrame:
        """Return the square of agreements, NaN where there is no answer."""
        import pandas as pd

        names = [c.version for c in self.cells]
        return pd.DataFrame(self.agreement, index=names, columns=names, dtype=float)

    def to_markdown(self) -> str:
        """Return the versions as a table."""
        head = [f"## {code(self.source)} under {len(self.cells)} versions of transformers ({md(self.loader)})", ""]
        rows = [
            f"| {code(c.version)} | {c.group} | {code(c.class_name)} | {', '.join('–' if d is None else str(d) for d in c.drift) or '–'} "
            f"| {c.severity.label if c.severity is not None else '–'} | {code(c.error or '')} |"
            for c in self.cells
        ]
        return "\n".join(
            [
                *head,
                "| transformers | ids | class | drift | against the first | |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
            ]
        )

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table("transformers", "ids", "class", "drift", "against the first", "", title=Text(self.source))
        for c in self.cells:
            drift = ", ".join("–" if d is None else f"{d:+d}" if d else "0" for d in c.drift)
            table.add_row(
                c.version,
                c.group,
                Text(c.class_name),
                drift,
                c.severity.label if c.severity is not None else "–",
                Text(c.error or ""),
            )
        return table

    def _repr_html_(self) -> str:
        from html import escape

        body = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(str(v))}</td>"
                for v in (
                    c.version,
                    c.group,
                    c.class_name,
                    list(c.drift),
                    c.severity.label if c.severity is not None else "–",
                    c.error or "",
                )
            )
            + "</tr>"
            for c in self.cells
        )
        head = "".join(
            f"<th>{name}</th>" for name in ("transformers", "ids", "class", "drift", "against the first", "")
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare_versions(
    source: str | Path | Source,
    versions: Sequence[str],
    *,
    loader: str = "auto",
    prompts: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> VersionMatrix:
    """Load the same files under several transformers versions, and tell who agrees with whom.

    Args:
        source: anything :func:`chatlab.tokenizers.source.resolve` takes.
        versions: transformers versions, such as ``["4.31.0", "4.57.1", "5.23.0"]``.
        loader: ``auto``, ``slow``, ``raw``, ``sentencepiece``, or a transformers class name.
        prompts: prompts of your own; their drift stands in the matrix.
        options: keyword arguments for ``from_pretrained``, such as ``{"legacy": False}``.
        progress: called with a line for each thing that takes time.

    Raises:
        TokenizerLoadError: the source does not resolve.
        VersionInstallError: there is no uv; a single version that fails is a cell that says why.
    """
    found = source if isinstance(source, Source) else resolve(source)
    wanted = list(dict.fromkeys(versions))
    find_uv()

    def take(version: str) -> Snapshot | str:
        try:
            return snapshot_under(version, found, loader, prompts=prompts, options=options, progress=progress)
        except ChatlabError as error:
            return str(error)

    with ThreadPoolExecutor(PARALLEL) as pool:
        taken = dict(zip(wanted, pool.map(take, wanted), strict=True))
    return matrix_of(found.name, loader, taken)


def matrix_of(source: str, loader: str, taken: Mapping[str, Snapshot | str]) -> VersionMatrix:
    """Return the matrix of snapshots, or of the reasons why there are none; a pure function of them."""
    good = {v: s for v, s in taken.items() if isinstance(s, Snapshot) and "error" not in s.view(loader)}
    ids = {v: {label: p.get("ids") for label, p in s.view(loader)["probes"].items()} for v, s in good.items()}
    # Text that some version refuses tells nothing about the others' ids.
    shared = [
        label for label in next(iter(ids.values()), {}) if all(table.get(label) is not None for table in ids.values())
    ]
    letters: dict[str, str] = {}
    cells = []
    for version, value in taken.items():
        if version not in good:
            error = value if isinstance(value, str) else str(value.view(loader)["error"])
            cells.append(Cell(version=version, group="–", class_name="", drift=(), severity=None, error=error))
            continue
        key = recorder.sha256(recorder.canonical([ids[version][label] for label in shared]))
        letter = letters.setdefault(key, chr(ord("A") + len(letters)))
        first = next(iter(good.values()))
        severity = compare_snapshots(first, good[version], loader=loader).severity
        view = good[version].view(loader)
        cells.append(
            Cell(version=version, group=letter, class_name=view["class"], drift=_drifts(view), severity=severity)
        )
    agreement = tuple(tuple(_share(ids.get(a), ids.get(b)) for b in taken) for a in taken)
    return VersionMatrix(source=source, loader=loader, cells=tuple(cells), agreement=agreement, snapshots=good)


def _drifts(view: Mapping[str, Any]) -> tuple[int | None, ...]:
    own = [probe for probe in probes(view).values() if probe["family"] == "prompt"]
    return tuple(d.skip if (d := drift_of(probe, view)) else None for probe in own)


def _share(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> float | None:
    if a is None or b is None:
        return None
    shared = [label for label in a.keys() & b.keys() if a[label] is not None and b[label] is not None]
    return sum(a[label] == b[label] for label in shared) / len(shared) if shared else None
