"""``chatlab turns``: does the next prompt begin with what the model saw and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from chatlab.cli.parts.shell import (
    DRIFT,
    ERROR,
    EXACT,
    CtrlC,
    Legacy,
    LoaderOption,
    Revision,
    Source,
    app,
    console,
    errors,
    load,
    progress_bar,
)
from chatlab.cli.parts.verdict import verdict
from chatlab.errors import ChatlabError, DialogueError
from chatlab.tokenizers.loaders import Loader

if TYPE_CHECKING:
    from chatlab.tokenizers.interface import Tokenizer
    from chatlab.turns.tally import TurnsTally
    from chatlab.turns.turns_trace import TurnsTrace

_SHOWN_KINDS = 12
"""Reasons that are counted on the screen at most, the commonest first."""


@app.command()
def turns(
    tokenizer: Source,
    revision: Revision = None,
    loader: LoaderOption = Loader.AUTO,
    legacy: Legacy = None,
    conversations: Annotated[
        Path | None,
        typer.Option(
            help="dialogues, or calls with their ids, as JSON lines, a JSON array or Parquet; default: embedded"
        ),
    ] = None,
    prompt: Annotated[
        str,
        typer.Option(help="template, or a prompt format such as llama2, or your own module:Class or file.py:Class"),
    ] = "template",
    stored: Annotated[
        Literal["verbatim", "stripped", "parsed"], typer.Option(help="what the program keeps of each reply")
    ] = "verbatim",
    out: Annotated[Path | None, typer.Option(help="folder for Parquet, CSV, figures and the HTML report")] = None,
    trace: Annotated[int, typer.Option(help="how many lost conversations to explain in full", min=0)] = 3,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="go on without dialogues that cannot be read or placed, and count the reasons"),
    ] = False,
) -> None:
    """Measure whether each next prompt begins with what the model saw and said; where not, tell why and what to do."""
    from chatlab.files import prepare_folder
    from chatlab.turns.tally import TurnsTally

    with verdict():
        folder = None if out is None else prepare_folder(out)
        reader = load(tokenizer, revision, loader, legacy)
        study = _Study(reader, prompt, stored, conversations, skip_bad)
        tally, traces = TurnsTally(), list[Any]()
        interrupted = study.run(folder, tally, traces, trace)
        if not tally.border_count:
            _tell_left_out(study.bad)
            raise study.found_nothing(interrupted)
        _show(tally, traces)
        if folder is not None:
            from chatlab.reports.turns import write_turns_report

            paths = write_turns_report(folder, tally, traces, f"Conversations of {reader.name}")
            console.print(f"\nwritten to {folder}: turns.parquet, turns.csv, " + ", ".join(p.name for p in paths))
        _tell_left_out(study.bad)
        if interrupted:
            errors.print("interrupted: this is what was measured so far", style="yellow")
            raise typer.Exit(ERROR)
        raise typer.Exit(EXACT if tally.is_kept else DRIFT)


class _Study:
    """One run from files to tally, with progress."""

    def __init__(self, tokenizer: Tokenizer, prompt: str, stored: str, path: Path | None, skip_bad: bool) -> None:
        from chatlab.embedded import dialogues_path

        self.bad: list[ChatlabError] = []
        self._tokenizer, self._stored, self._path, self._skip_bad = (
            tokenizer,
            stored,
            path or dialogues_path(),
            skip_bad,
        )
        self._on_bad = self.bad.append if skip_bad else None
        self._prompt_class = _prompt_class(prompt)

    def run(self, folder: Path | None, tally: TurnsTally, traces: list[TurnsTrace], trace_count: int) -> bool:
        """Measure, then explain the first lost conversations; tell whether the user interrupted it."""
        from chatlab.turns.measure import iter_turns

        with ExitStack() as stack:
            rows = None
            if folder is not None:
                from chatlab.reports.drift import DriftRows

                rows = stack.enter_context(DriftRows(folder, "turns"))
            progress = stack.enter_context(progress_bar())
            task = progress.add_task("measuring", total=None)
            ctrl_c = stack.enter_context(CtrlC())
            lost = dict[str, None]()
            frames = iter_turns(
                self._counted(ctrl_c, progress, task), self._prompt_class, self._tokenizer,
                stored=self._stored, labels=[], on_bad=self._on_bad,
            )  # fmt: skip
            for frame in frames:
                tally.add(frame)
                lost |= dict.fromkeys(frame["dialogue"][~frame["kept"]].astype(str))
                if rows is not None:
                    rows.add(frame)
            wanted = set(islice(lost, 0 if ctrl_c.pressed else trace_count))
            traces += islice(self._traces(wanted), len(wanted))
        return ctrl_c.pressed

    def found_nothing(self, interrupted: bool) -> ChatlabError:
        """Say why there is no border to tell of."""
        if interrupted:
            return ChatlabError(f"interrupted before a conversation of {self._path} was measured: nothing was written")
        first = f" The first of {len(self.bad)} that were left out: {self.bad[0]}" if self.bad else ""
        return DialogueError(f"no border of {self._path} was measured: it holds no conversation of two calls.{first}")

    def _read(self) -> Iterator[Any]:
        from chatlab.prompts.dialogue import read_dialogues
        from chatlab.prompts.records import records_of
        from chatlab.turns.trajectories import has_ids, read_trajectories

        first = next((data for _, _, data in records_of(self._path)), None)
        if has_ids(first):
            return read_trajectories(self._path)
        return read_dialogues(self._path, self._skip_bad, self._on_bad)

    def _counted(self, ctrl_c: CtrlC, progress: Any, task: Any) -> Iterator[Any]:
        for given in self._read():
            if ctrl_c.pressed:
                return
            yield given
            progress.advance(task)

    def _traces(self, wanted: set[str]) -> Iterator[TurnsTrace]:
        from chatlab.turns.trace import trace_turns
        from chatlab.turns.trajectories import Trajectory, trace_trajectory

        for given in self._read() if wanted else ():
            if given.id not in wanted:
                continue
            if isinstance(given, Trajectory):
                yield trace_trajectory(self._tokenizer, given, prompt_class=self._prompt_class)
            else:
                yield trace_turns(self._tokenizer, given, prompt_class=self._prompt_class, stored=self._stored)  # type: ignore[arg-type]  # typer checked it


def _prompt_class(name: str) -> Any:
    """Return the prompt class of a format's name, or the user's own; None for the tokenizer's template."""
    if name == "template":
        return None
    if ":" not in name:
        return name
    from chatlab.cli.parts.own_code import imported

    return imported(name)


def _show(tally: TurnsTally, traces: Iterable[TurnsTrace]) -> None:
    for sentence in tally.verdict():
        console.print(Text(f"• {sentence}"))
    causes = tally.by_cause()
    if not len(causes):
        return
    table = Table(title="Why borders are lost", title_justify="left")
    for column in ("cause", "layer", "borders", "ids lost", "hurts", "what to do"):
        table.add_column(column, justify="right" if column in ("borders", "ids lost") else "left")
    for cause, layer, borders, lost, hurts, cure, _ in causes.itertuples(index=False, name=None):
        table.add_row(*map(Text, (cause, layer, f"{borders:,}", f"{lost:,}", hurts, cure)))
    console.print(table)
    example = next(iter(traces), None)
    if example is not None:
        console.print(Text(f"One of them, {example.dialogue}:"))
        console.print(Text(str(example)))


def _tell_left_out(bad: list[ChatlabError]) -> None:
    if not bad:
        return
    errors.print(Text.assemble((f"{len(bad)} dialogues were left out", "yellow"), f"; the first: {bad[0]}"))
    for kind, count in Counter(error.kind for error in bad).most_common(_SHOWN_KINDS):
        errors.print(f"{count:>8,}  {kind}", soft_wrap=True)
