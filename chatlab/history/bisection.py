"""Since when: the first commit between two revisions at which the verdict changes.

Commits whose tokenizer files have the same blob ids are one state, so they cost a listing and no download.

The states are walked from the oldest on, not halved. Halving finds *a* change only where the verdict, once bad, stays
bad, and tokenizers do come back: idefics-80b-instruct reverted its normalizer, Kimi-K2.6 its tokenizer.json. Between a
good revision and a later good one it would find nothing, and between three changes any of them. A walk finds the first,
and stops there; a repository has few states, each is compared once, and a revert costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import RevisionCompareError, RevisionError
from chatlab.progress.meter import Meter
from chatlab.progress.progress import Reporter
from chatlab.render import code, md, readable, table_html, verdict_html
from chatlab.results import Result
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.comparison import Comparison
from chatlab.severity import Severity
from chatlab.snapshots.arguments import place, texts
from chatlab.tokenizers import git
from chatlab.tokenizers.git import Commit
from chatlab.tokenizers.hub import Hub
from chatlab.tokenizers.source import is_tokenizer_file, resolve

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

_COLUMNS = ("commit", "date", "title", "tokenizer files", "against the first")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One commit on the way."""

    commit: str
    title: str
    date: str
    changed: tuple[str, ...]
    """Tokenizer files that differ from the commit before."""
    severity: Severity
    """Against the first revision."""


@dataclass(frozen=True, kw_only=True)
class Bisection(Result):
    """Which commit brought the change."""

    title = "Since when"

    source: str
    before: str
    after: str
    first: Step | None
    """The first commit whose verdict reaches ``at_least``; ``None`` when none does."""
    at_least: Severity
    steps: tuple[Step, ...]
    """Every commit up to the first, oldest first; those that touch no tokenizer file have no ``changed``."""
    comparison: Comparison | None = field(default=None, repr=False, compare=False)
    """The first commit against the first revision."""

    @property
    def exit_code(self) -> int:
        """As of the comparison: 0 when no commit reaches the severity."""
        return self.first.severity.exit_code if self.first else 0

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.first is None:
            return f"No commit after {self.before[:8]} up to {self.after[:8]} is {self.at_least.label} or worse."
        return f"Since {self.first.commit} ({self.first.title}): {self.first.severity.label}; it changed {', '.join(self.first.changed)}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        steps = [{**vars(step), "changed": list(step.changed), "severity": step.severity.label} for step in self.steps]
        return {
            "source": self.source,
            "before": self.before,
            "after": self.after,
            "at_least": self.at_least.label,
            "first": self.first.commit if self.first else None,
            "verdict": self.verdict,
            "steps": steps,
            "comparison": self.comparison.to_dict() if self.comparison else None,
        }

    def __str__(self) -> str:
        lines = [f"  {'  '.join(row)}" for row in self._table()]
        return "\n".join(map(readable, [self.verdict, *lines]))

    def body(self) -> str:
        """Return the verdict, the steps and the comparison of the first bad one as escaped HTML."""
        word = self.first.severity.label if self.first else Severity.NONE.label
        report = self.comparison.body() if self.comparison else ""
        return verdict_html(word, self.verdict) + table_html(_COLUMNS, self._table(), self.source) + report

    def to_frame(self) -> pd.DataFrame:
        """Return one row a commit: ``commit``, ``title``, ``date``, ``changed``, ``severity``."""
        import pandas as pd

        columns = [field.name for field in fields(Step)]
        return pd.DataFrame(self.to_dict()["steps"], columns=columns)

    def figure(self) -> Drawing:
        """Draw how far each commit is from the first revision."""
        from chatlab.plots import plot_severities

        names = [f"{step.commit[:8]} {step.date[:10]}" for step in self.steps]
        scale = [severity.label for severity in Severity]
        title = f"{self.source} since {self.before[:8]}"
        return plot_severities(
            names, [step.severity for step in self.steps], scale, title, "against the first revision"
        )

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(*_COLUMNS, title=Text(readable(self.source)))
        for row in self._table():
            table.add_row(*(Text(readable(cell)) for cell in row))
        return Group(Text(readable(self.verdict)), table, *([self.comparison] if self.comparison else []))

    def _table(self) -> list[tuple[str, ...]]:
        return [(s.commit[:8], s.date[:10], s.title, ", ".join(s.changed), s.severity.label) for s in self.steps]

    def to_markdown(self) -> str:
        """Return the steps as a table, and the comparison of the first bad one."""
        rows = [
            f"| {code(s.commit[:8])} | {s.date[:10]} | {code(s.title)} | {code(', '.join(s.changed))} | {s.severity.label} |"
            for s in self.steps
        ]
        head = [f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---|---|"]
        tail = ["", self.comparison.to_markdown()] if self.comparison else []
        return "\n".join([md(self.verdict), "", *head, *rows, *tail])


class History:
    """Commits and trees of one repository, on the hub or in a clone."""

    def __init__(self, source: str | Path, endpoint: str | None = None) -> None:
        self.source = source
        self.path = Path(source).expanduser()
        self.hub = None if self.path.exists() else Hub(str(source), endpoint=endpoint)
        self.endpoint = endpoint

    def commit(self, revision: str) -> str:
        """Return the commit of a revision."""
        if self.hub is None:
            return git.resolve(self.path, revision)[0]
        return revision if len(revision) == 40 else self.hub.commit(revision)

    def between(self, before: str, after: str) -> list[Commit]:
        """Return the commits after one and up to the other, oldest first.

        Raises:
            RevisionError: the first is no ancestor of the second.
        """
        if self.hub is not None:
            return self.hub.log(before, after)
        return git.log(self.path, before, after)

    def tree(self, commit: str) -> dict[str, str]:
        """Return the blob ids of the tokenizer files of a commit."""
        if self.hub is not None:
            return self.hub.tree(commit, is_tokenizer_file) or {}
        return git.tree(self.path, commit, is_tokenizer_file)


def bisect_revisions(
    source: str | Path,
    before: str,
    after: str,
    *,
    at_least: Severity = Severity.MAJOR_LATENT,
    loader: str | None = None,
    prompts: Sequence[str] = (),
    endpoint: str | None = None,
    progress: bool | Reporter = False,
) -> Bisection:
    """Find the first commit that changes the verdict against a revision that works.

    Every state up to that commit is looked at, the oldest first: a change that was reverted later is found as well.

    Args:
        source: a hub id, or a folder inside a git clone.
        before: the revision that works: commit, tag or branch.
        after: a later one.
        at_least: the severity that counts as a change.
        loader: the loader that the verdict is about.
        prompts: prompts of your own.
        endpoint: another hub.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        RevisionError: a revision is absent, or the first is no ancestor of the second.
        RevisionCompareError: there are no commits between them.
    """
    prompts = texts("prompts", prompts)
    texts("before and after", [before, after])
    history = History(place("source", source), endpoint)
    old, new = history.commit(before), history.commit(after)
    commits = history.between(old, new)
    if not commits:
        raise RevisionCompareError(
            f"there is no commit between {old[:8]} and {new[:8]}: is {before!r} older than {after!r}?"
        )
    good = resolve(source, old, endpoint=endpoint)
    known: dict[tuple[tuple[str, str], ...], tuple[Severity, Comparison | None]] = {}
    steps: list[Step] = []
    with Meter(progress, "bisecting", "commits", len(commits)) as meter:
        for commit, changed, state in _states(history, old, commits):
            if state not in known:
                meter.note(f"{commit.commit[:8]} {commit.title}: {', '.join(changed) or 'as at the start'}")
                state_of = replace(resolve(source, commit.commit, endpoint=endpoint), described=commit)
                comparison = compare_revisions(good, state_of, loader=loader, prompts=prompts)
                known[state] = comparison.severity, comparison
            severity, found = known[state]
            step = Step(commit=commit.commit, title=commit.title, date=commit.date, changed=changed, severity=severity)
            steps.append(step)
            meter.advance()
            if severity >= at_least:
                return Bisection(
                    source=str(good.name),
                    before=old,
                    after=new,
                    first=step,
                    at_least=at_least,
                    steps=tuple(steps),
                    comparison=found,
                )
    return Bisection(source=str(good.name), before=old, after=new, first=None, at_least=at_least, steps=tuple(steps))


def _states(
    history: History, start: str, commits: list[Commit]
) -> Iterator[tuple[Commit, tuple[str, ...], tuple[tuple[str, str], ...]]]:
    """Yield each commit with the tokenizer files it changes and the state they are in; a listing each, no download."""
    last = history.tree(start)
    for commit in commits:
        tree = history.tree(commit.commit)
        if not tree:
            raise RevisionError(f"no tokenizer file at {commit.commit}: bisect between revisions that have some")
        changed = tuple(sorted(name for name in tree.keys() | last.keys() if tree.get(name) != last.get(name)))
        yield commit, changed, tuple(sorted(tree.items()))
        last = tree
