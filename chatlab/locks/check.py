"""Check a lock: does the tokenizer still do what was tested, with these files and these libraries?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import (
    ChatlabError,
    LockError,
    OfflineError,
    RevisionError,
    SourceNotFound,
    TokenizerLoadError,
    harmless,
)
from chatlab.forms import COLOURS
from chatlab.locks.difference import differences_of
from chatlab.locks.lock import comparison_with, entry_of
from chatlab.locks.lockfile import DEFAULT, Entry, read_lock
from chatlab.render import heading_html, list_html, md, one_line, readable, table_html, verdict_html
from chatlab.results import Result
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.wording import moving_lines
from chatlab.severity import COULD_NOT_COMPARE, Severity
from chatlab.snapshots.snapshot import Snapshot, take
from chatlab.snapshots.views import loader_view
from chatlab.tokenizers.hub import Hub
from chatlab.tokenizers.source import Source, is_tokenizer_file, resolve

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

_SCALE = tuple(severity.label for severity in Severity)


@dataclass(frozen=True, kw_only=True)
class CheckResult(Result):
    """What became of one locked tokenizer."""

    title = "A locked tokenizer"

    alias: str
    severity: Severity
    lines: tuple[str, ...]
    """What differs, each in a line; empty when nothing does."""
    error: str | None = None
    """Why there is no verdict: the files are gone, the lock is damaged."""
    comparison: Comparison | None = field(default=None, repr=False, compare=False)
    """The whole comparison, where the locked snapshot is still kept on this machine."""
    upstream: Comparison | None = field(default=None, repr=False, compare=False)
    """What the branch or tag would bring now, with ``online``."""

    @property
    def exit_code(self) -> int:
        """0 up to MINOR, 1 BREAKING, 2 MAJOR or MAJOR-latent, 3 no verdict."""
        return COULD_NOT_COMPARE if self.error else self.severity.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found: dict[str, Any] = {
            "alias": self.alias,
            "severity": self.severity.label,
            "lines": list(self.lines),
            "error": self.error,
        }
        for name in ("comparison", "upstream"):
            value = getattr(self, name)
            found[name] = value.to_dict() if value else None
        return found

    @property
    def word(self) -> str:
        """The verdict in a word: ``as locked``, a severity, or ``no verdict``."""
        if self.error:
            return "no verdict"
        return "as locked" if self.severity is Severity.NONE else self.severity.label

    @property
    def told(self) -> tuple[str, ...]:
        """What there is to say: why there is no verdict, or what differs."""
        return (self.error,) if self.error else self.lines

    def __str__(self) -> str:
        return "\n".join(map(readable, [f"{self.alias}: {self.word}", *(f"  {line}" for line in self.told)]))

    def body(self) -> str:
        """Return the verdict, what differs, and the whole comparisons as escaped HTML."""
        parts = [heading_html(self.alias, 3), verdict_html(self.word, ""), list_html(self.told) if self.told else ""]
        return "".join([*parts, *(found.body() for found in (self.comparison, self.upstream) if found is not None)])

    def to_frame(self) -> pd.DataFrame:
        """Return one row a line of what differs, or one that says what else there is to say."""
        import pandas as pd

        rows = [(self.alias, self.word, line) for line in self.told or (self.word,)]
        return pd.DataFrame(rows, columns=["alias", "verdict", "line"])

    def figure(self) -> Drawing:
        """Draw what changed where, or, without a comparison, how far it is from what was locked."""
        if self.comparison is not None:
            return self.comparison.figure()
        return CheckReport([self]).figure()


class CheckReport(Result, list[CheckResult]):
    """The results of a check: a list that shows itself."""

    title = "Locked tokenizers"

    @property
    def exit_code(self) -> int:
        """1 when anything breaks, else 3 when one gave no verdict, else 2 or 0."""
        codes = {result.exit_code for result in self}
        return next((code for code in (1, 3, 2) if code in codes), 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"exit_code": self.exit_code, "results": [result.to_dict() for result in self]}

    def to_markdown(self) -> str:
        """Return the results for a pull request, with the whole comparison of what differs."""
        parts = []
        for result in self:
            parts.append(f"- **{md(result.alias)}**: {result.word}")
            parts += [f"  - {md(line)}" for line in result.told]
            parts += ["", *(c.to_markdown() for c in (result.comparison, result.upstream) if c is not None)]
        return "\n".join(parts)

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = []
        for result in self:
            style = "red" if result.error else COLOURS[result.severity]
            parts.append(Text(f"{result.alias}: {result.word}", style=f"bold {style}"))
            parts += [Text(f"  {one_line(line)}") for line in result.told]
            parts += [c for c in (result.comparison, result.upstream) if c is not None and c.severity > Severity.MINOR]
        return Group(*parts)

    def body(self) -> str:
        """Return a table of the verdicts, then each result, as escaped HTML."""
        rows = [(result.alias, result.word, len(result.lines)) for result in self]
        table = table_html(("tokenizer", "verdict", "differences"), rows)
        return table + "".join(result.body() for result in self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a tokenizer: ``alias``, ``verdict``, ``differences``, ``error``."""
        import pandas as pd

        rows = [(result.alias, result.word, len(result.lines), result.error) for result in self]
        return pd.DataFrame(rows, columns=["alias", "verdict", "differences", "error"])

    def figure(self) -> Drawing:
        """Draw how far each tokenizer is from what was locked."""
        from chatlab.plots import plot_severities

        names = [f"{result.word}: {result.alias}" for result in self]
        return plot_severities(names, [result.severity for result in self], _SCALE, "Now against what was locked")


def check(alias: str | None = None, *, path: str | Path = DEFAULT, online: bool = False) -> CheckReport:
    """Check one locked tokenizer, or all.

    Args:
        alias: which one; left out, every entry.
        path: the lock file.
        online: ask the hub where the branch or tag is now, whether the locked commit is still there, and fetch
            files that this machine lacks. Otherwise nothing is asked of any network.

    Raises:
        LockError: there is no lock file, it is damaged, or lacks the alias.
    """
    lock_path = Path(path)
    entries = read_lock(lock_path)
    if not entries:
        raise LockError(f"{lock_path} locks nothing: `chatlab lock ALIAS SOURCE` writes it")
    if alias is not None and alias not in entries:
        raise LockError(f"{alias!r} is not in {lock_path.name}: it has {', '.join(entries)}")
    return CheckReport(
        check_entry(entry, lock_path.parent, online=online) for name, entry in entries.items() if alias in (None, name)
    )


def check_entry(entry: Entry, root: Path, *, online: bool = False) -> CheckResult:
    """Check one entry; what prevents a verdict is told in ``error``."""
    try:
        if "error" in entry.components:
            raise LockError(f"it did not load when it was locked: lock {entry.alias} anew with --update")
        source = entry.source(root, offline=not online)
        taken = _taken(source, entry)
        now = entry_of(entry.alias, source, taken, root, entry.roles, tokens=entry.golden["probed"]["tokens"])
    except ChatlabError as error:
        return CheckResult(alias=entry.alias, severity=Severity.NONE, lines=(), error=str(error))
    found = differences_of(entry, now)
    severity, lines, upstream = found.severity, found.lines, None
    if not taken.loads(entry.loader):
        lines = (f"does not load with {entry.loader}: {taken.view()['error']}", *lines)
    lines = (*taken.warnings, *moving_lines(loader_view(taken.record, entry.loader)), *lines)
    if online and entry.kind == "hub":
        try:
            moved, more, upstream = _online(entry)
        except ChatlabError as error:
            moved, more = Severity.MAJOR, (f"what {entry.requested} would bring could not be compared: {error}",)
        severity, lines = max(severity, moved), (*lines, *more)
    comparison = comparison_with(entry, taken) if found.lines else None
    return CheckResult(alias=entry.alias, severity=severity, lines=lines, comparison=comparison, upstream=upstream)


def _taken(source: Source, entry: Entry) -> Snapshot:
    """Return the snapshot of what is there now; a kept one answers for no template that is not the same twice."""
    probed = entry.golden["probed"]
    asked: dict[str, Any] = {"prompts": entry.prompts, "options": entry.options, "also": probed["tokens"]}
    taken = take(source, [entry.loader], injected=probed["injected"], **asked)
    if any(template.volatile for template in loader_view(taken.record, entry.loader).templates):
        return take(source, [entry.loader], injected=probed["injected"], **asked, cache=False)
    return taken


def _online(entry: Entry) -> tuple[Severity, tuple[str, ...], Comparison | None]:
    """Look where the requested branch or tag is now; two tree listings tell whether a tokenizer file moved."""
    assert entry.revision is not None
    hub = Hub(entry.place)
    try:
        hub.exists(entry.revision)
    except RevisionError as error:
        return (
            Severity.MAJOR,
            (f"the locked commit is gone from the hub, and only your copies are left: {error}",),
            None,
        )
    except SourceNotFound as error:
        return Severity.MAJOR, (f"the repository is gone from the hub, and only your copies are left: {error}",), None
    except OfflineError as error:
        return Severity.MAJOR_LATENT, (f"the hub did not answer: {error}",), None
    if entry.requested in (None, entry.revision):
        return Severity.NONE, (), None
    now = hub.commit(str(entry.requested))
    if now == entry.revision:
        return Severity.NONE, (), None
    told = f"{entry.requested} moved to {now}"
    if hub.tree(now, is_tokenizer_file) == hub.tree(entry.revision, is_tokenizer_file):
        return Severity.INFO, (f"{told}; no tokenizer file changed",), None
    comparison = compare_revisions(
        resolve(entry.place, entry.revision),
        resolve(entry.place, now),
        loader=entry.loader,
        prompts=entry.prompts,
        options=entry.options,
    )
    return comparison.severity, (f"{told}: {comparison.severity.label}: {comparison.verdict}",), comparison


def load_locked(alias: str, *, path: str | Path = DEFAULT) -> Any:
    """Load a locked tokenizer as it was locked, only if its files are byte for byte those that were locked.

    Raises:
        LockError: the alias is unknown, or a file differs.
        TokenizerLoadError: the locked loader does not load it any more.
    """
    from chatlab.snapshots.recorder import file_sha256, load, tokenizer_files
    from chatlab.tokenizers.load import as_tokenizer

    lock_path = Path(path)
    entry = read_lock(lock_path).get(alias)
    if entry is None:
        raise LockError(f"{alias!r} is not in {lock_path.name}: `chatlab lock {alias} SOURCE` adds it")
    source = entry.source(lock_path.parent)
    found = {name: file_sha256(file) for name, file in tokenizer_files(source.folder).items()}
    locked = {name: file["sha256"] for name, file in entry.files.items()}
    differing = sorted(name for name in found.keys() | locked.keys() if found.get(name) != locked.get(name))
    if differing:
        raise LockError(
            f"{', '.join(differing)} of {alias!r} are not what was locked: `chatlab check {alias}` tells what changed"
        )
    try:
        loaded = load(source.folder, entry.loader, dict(entry.options))
    except Exception as error:  # the libraries raise bare Exception, OSError, RuntimeError, ValueError, TypeError…
        raise TokenizerLoadError(f"{alias!r} does not load with {entry.loader}: {error}") from harmless(error)
    tokenizer = as_tokenizer(loaded.tokenizer)
    tokenizer.source = source
    return tokenizer
