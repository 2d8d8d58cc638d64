"""The same files under several library versions: each in an environment of its own, and who agrees with whom."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.child import program
from chatlab.child.call import ChildLimits
from chatlab.child.nursery import ANSWER_LIMIT, LIBRARIES, bare_environment
from chatlab.errors import ChatlabError, TokenizerLimitError, VersionInstallError
from chatlab.history.matrix import VersionMatrix, matrix_of
from chatlab.progress.meter import Meter
from chatlab.progress.progress import Reporter
from chatlab.snapshots import recorder
from chatlab.snapshots.arguments import place, switches, texts
from chatlab.snapshots.cache import Cache
from chatlab.snapshots.corpus import probe_corpus
from chatlab.snapshots.snapshot import Snapshot, cache_key, limits_of
from chatlab.tokenizers.cache import cache_folder
from chatlab.tokenizers.source import Source, resolve

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


WHEELS = ("--only-binary", ":all:")
"""A source distribution runs code of its own while it is installed; all that is wanted here has wheels."""


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
    """Return what is installed beside a transformers version: what its tokenizers need, pinned, and no torch."""
    major = int(version.split(".")[0])
    companions = (
        ["sentencepiece==0.2.3", "protobuf==7.36.2", "tiktoken==0.14.0", "jinja2==3.1.6"]
        if major >= 5
        else ["sentencepiece==0.2.0", "protobuf==4.25.8", "tiktoken==0.9.0", "jinja2==3.1.6", "numpy==1.26.4"]
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
    if (target / "ready").is_file() and python.exists():  # a link to a Python that may have been removed since
        return Environment(version=version, python=python)
    uv = find_uv()
    if progress is not None:
        progress(f"transformers {version}: making its environment")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run([*uv, "venv", "--quiet", "--python", sys.executable, str(target)], version)
        _run([*uv, "pip", "install", "--quiet", *WHEELS, "--python", str(python), *wanted], version)
    except VersionInstallError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    (target / "ready").touch()
    return Environment(version=version, python=python)


def _run(
    command: list[str],
    version: str,
    *,
    variables: Mapping[str, str] = os.environ,
    limits: ChildLimits = ChildLimits(),  # noqa: B008 - frozen
    place: str | None = None,
) -> str:
    # Nothing of this process' Python may leak into the other one.
    clean = {k: v for k, v in variables.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    clean.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
    try:
        done = subprocess.run(command, env=clean, cwd=place, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise VersionInstallError(f"transformers {version} took longer than {TIMEOUT_SECONDS} s") from error
    except OSError as error:
        raise VersionInstallError(f"transformers {version}: {command[0]} does not start: {error.strerror}") from error
    if done.returncode == -signal.SIGXCPU:
        raise TokenizerLimitError(f"transformers {version} took more than {limits.time}")
    if done.returncode < 0 or "MemoryError" in done.stderr[-1000:]:
        raise TokenizerLimitError(f"transformers {version} took more than {limits.memory}, or a library of it crashed")
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
        "prompts": texts("prompts", prompts),
        "also": [],
        "options": switches(options),
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
        limits = limits_of(Path(request["folder"]))
        numbers = [str(limits.time_s), str(limits.memory_bytes), ",".join(LIBRARIES)]
        command = [str(env.python), "-P", program.__file__, *numbers, recorder.__file__, str(asked), str(answered)]
        _run(command, env.version, variables=bare_environment(), limits=limits, place=folder)
        if answered.stat().st_size > ANSWER_LIMIT:
            raise TokenizerLimitError(f"transformers {env.version}: its record has more than {ANSWER_LIMIT} bytes")
        found: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return found


def compare_versions(
    source: str | Path | Source,
    versions: Sequence[str],
    *,
    loader: str = "auto",
    prompts: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    progress: bool | Reporter = False,
) -> VersionMatrix:
    """Load the same files under several transformers versions, and tell who agrees with whom.

    Args:
        source: anything :func:`chatlab.tokenizers.source.resolve` takes.
        versions: transformers versions, such as ``["4.31.0", "4.57.1", "5.23.0"]``.
        loader: ``auto``, ``slow``, ``raw``, ``sentencepiece``, or a transformers class name.
        prompts: prompts of your own; their drift stands in the matrix.
        options: keyword arguments for ``from_pretrained``, such as ``{"legacy": False}``.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        TokenizerLoadError: the source does not resolve.
        RevisionCompareError: an argument is of a wrong type.
        VersionInstallError: there is no uv; a single version that fails is a cell that says why.
    """
    wanted = list(dict.fromkeys(texts("versions", versions)))
    prompts, options = texts("prompts", prompts), switches(options)
    found = source if isinstance(source, Source) else resolve(place("source", source))
    find_uv()

    def take(version: str) -> Snapshot | str:
        try:
            return snapshot_under(version, found, loader, prompts=prompts, options=options, progress=meter.note)
        except ChatlabError as error:
            return str(error)
        finally:
            meter.advance()

    with Meter(progress, "loading", "versions", len(wanted)) as meter, ThreadPoolExecutor(PARALLEL) as pool:
        taken = dict(zip(wanted, pool.map(take, wanted), strict=True))
    return matrix_of(found.name, loader, taken)
