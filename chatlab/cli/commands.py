"""What `chatlab compare`, `lock` and `check` do: plain parameters in, text out, an exit code back.

Exit codes: 0 up to MINOR, 1 BREAKING, 2 MAJOR or MAJOR-latent, 3 could not compare.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from chatlab.errors import ChatlabError, LockError, OutputError
from chatlab.files import write_whole
from chatlab.history.bisection import bisect_revisions
from chatlab.history.environments import compare_versions
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.locks.lockfile import DEFAULT
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.report.forms import visible
from chatlab.severity import COULD_NOT_COMPARE


class _Report(Protocol):
    @property
    def exit_code(self) -> int: ...

    def to_dict(self) -> dict[str, Any]: ...

    def to_markdown(self) -> str: ...

    def page(self) -> str: ...


def compare_command(
    before: str,
    after: str | None = None,
    *,
    versions: str | None = None,
    bisect: bool = False,
    loader: str | None = None,
    prompts: Sequence[str] = (),
    prompt_file: Path | None = None,
    explain: str | None = None,
    format: str = "rich",
    out: Path | None = None,
    console: Console | None = None,
) -> int:
    """Compare two revisions, one source under several library versions, or find since when.

    Args:
        before: what works today, such as ``org/name@commit``, a folder, or a clone with ``@commit``.
        after: what would take its place.
        versions: transformers versions with commas between; ``after`` and ``bisect`` are refused then.
        bisect: find the first commit between ``SOURCE@old`` and ``SOURCE@new`` that changes the verdict.
        loader: the loader that the verdict is about.
        prompts: prompts of your own.
        prompt_file: a text file with one prompt a line, or a JSON file with a list of prompts.
        explain: a probe to show through both tokenizers, such as ``prompt/0``.
        format: ``rich``, ``markdown``, ``json`` or ``html``.
        out: a file to write instead of the terminal.
        console: where to write.
    """
    screen = console or Console()
    try:
        own = [*prompts, *(read_prompts(prompt_file) if prompt_file else ())]
        _one_question(before, after, versions=versions, bisect=bisect, explain=explain)
        if versions is not None:
            wanted = [v.strip() for v in versions.split(",") if v.strip()]
            result: Any = compare_versions(before, wanted, loader=loader or "auto", prompts=own, progress=True)
        elif after is None:
            raise OutputError("nothing to compare with: give a second source, or --versions")
        elif bisect:
            (source, old), (_, new) = _split(before), _split(after)
            result = bisect_revisions(source, old, new, loader=loader, prompts=own, progress=True)
        else:
            result = compare_revisions(before, after, loader=loader, prompts=own)
        write_report(result, format, out, screen)
        if explain is not None:
            screen.print(Text(result.explain(explain).to_text()))
    except (ChatlabError, OSError) as error:
        _say_error(screen, "compare", error)
        return COULD_NOT_COMPARE
    return int(result.exit_code)


def lock_command(
    alias: str,
    source: str | None = None,
    *,
    revision: str | None = None,
    path: Path = Path(DEFAULT),
    loader: str = "auto",
    prompts: Sequence[str] = (),
    roles: Sequence[str] = (),
    vendor: bool = False,
    update: bool = False,
    console: Console | None = None,
) -> int:
    """Lock a tokenizer; ``roles`` are given as ``weights=org/model@commit``. Exit code 0, or 3 when nothing was locked."""
    screen = console or Console()
    try:
        entry = lock(
            alias,
            source,
            revision=revision,
            path=path,
            loader=loader,
            prompts=prompts,
            roles=dict(map(_role, roles)),
            vendor=vendor,
            update=update,
        )
    except (ChatlabError, OSError) as error:
        _say_error(screen, "lock", error)
        return COULD_NOT_COMPARE
    at = f" at {entry.revision}" if entry.revision else ""
    screen.print(
        Text(
            f"{alias}: {visible(entry.place)}{at}, {len(entry.files)} files, {entry.golden['corpus']['version']}. corpus → {path}"
        )
    )
    if entry.requested is not None and entry.requested != entry.revision:
        screen.print(Text(f"{entry.requested!r} can move: load it with revision={entry.revision!r}"))
    if update and entry.history:
        note = entry.history[0]
        screen.print(
            Text(f"{note['severity']} against the former lock: {'; '.join(note['changed']) or 'nothing differs'}")
        )
    return 0


def check_command(
    alias: str | None = None,
    *,
    path: Path = Path(DEFAULT),
    online: bool = False,
    format: str = "rich",
    out: Path | None = None,
    console: Console | None = None,
) -> int:
    """Check one locked tokenizer or all; the worst exit code counts, and 3 when one gave no verdict and none breaks."""
    screen = console or Console()
    try:
        results = check(alias, path=path, online=online)
        write_report(results, format, out, screen)
    except (ChatlabError, OSError) as error:
        _say_error(screen, "check", error)
        return COULD_NOT_COMPARE
    return results.exit_code


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file: a JSON list of strings, or one a line.

    Raises:
        OutputError: the file cannot be read or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line]
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(p, str) for p in found):
        raise OutputError(f"{path} holds no list of prompts")
    return found


def write_report(result: _Report, format: str, out: Path | None, screen: Console) -> None:
    """Write a report to the terminal or, whole or not at all, to a file.

    Raises:
        OutputError: the format is unknown, or the file cannot be written.
    """
    if format == "rich" and out is None:
        screen.print(result)
        return
    makers = {
        "rich": lambda: _plain_text(result),
        "markdown": result.to_markdown,
        "json": lambda: json.dumps(result.to_dict(), indent=2, sort_keys=True, ensure_ascii=False),
        "html": result.page,
    }
    if format not in makers:
        raise OutputError(f"{format!r} is no format: rich, markdown, json or html")
    text = makers[format]().encode("utf-8", "backslashreplace").decode()
    if out is None:
        screen.file.write(text + "\n")
        return
    write_whole(out, text + "\n")


def _plain_text(result: _Report) -> str:
    from io import StringIO

    buffer = StringIO()
    Console(file=buffer, width=120).print(result)
    return buffer.getvalue()


def _role(spec: str) -> tuple[str, str]:
    name, mark, pin = spec.partition("=")
    if not (name and mark and pin):
        raise LockError(f"the role {spec!r} names no pin: give NAME=SOURCE@COMMIT, such as weights=org/model@COMMIT")
    return name, pin


def _one_question(before: str, after: str | None, *, versions: str | None, bisect: bool, explain: str | None) -> None:
    """Refuse what would be left out of the answer without a word."""
    if versions is not None and not versions.strip(", "):
        raise OutputError("--versions names none: give versions of transformers, such as 4.46.3,5.23.0")
    if versions is not None and (after is not None or bisect):
        raise OutputError("--versions is about one source: leave out the second one and --bisect")
    if explain is not None and (versions is not None or bisect):
        raise OutputError("--explain is about two revisions: leave out --versions and --bisect")
    if bisect and after is not None and _split(before)[0] != _split(after)[0]:
        raise OutputError(f"--bisect is about one history: {before} and {after} are of two sources")


def _split(spec: str) -> tuple[str, str]:
    source, mark, revision = spec.rpartition("@")
    if not mark:
        raise OutputError(f"{spec} names no revision: give SOURCE@REVISION")
    return source, revision


def _say_error(screen: Console, verb: str, error: Exception) -> None:
    screen.print(Text(f"could not {verb}: {visible(str(error))}", style="red"))
