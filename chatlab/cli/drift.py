"""``chatlab drift``: the experiment over many dialogues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from chatlab.cli.parts.completion import cut_strategies, prompt_formats
from chatlab.cli.parts.shell import (
    DRIFT,
    ERROR,
    EXACT,
    CtrlC,
    Legacy,
    LoaderOption,
    Revision,
    app,
    console,
    errors,
    load,
    progress_bar,
)
from chatlab.cli.parts.verdict import verdict
from chatlab.cli.trace import diff_of
from chatlab.errors import ChatlabError, DialogueError, PromptError
from chatlab.render import diff_text
from chatlab.tokenizers.loaders import Loader

if TYPE_CHECKING:
    from chatlab.cli.parts.without import Without
    from chatlab.echo.cut import CutStrategy
    from chatlab.echo.summary import DriftTally
    from chatlab.echo.trace import EchoTrace
    from chatlab.prompts.base import AbstractChatPrompt
    from chatlab.prompts.dialogue import Dialogue
    from chatlab.tokenizers.interface import Tokenizer

_EXAMPLE = '{"turns": [{"user": "Hi", "assistant": "Hello."}]}'

_SHOWN_KINDS = 12
"""Reasons that are counted on the screen at most, the commonest first."""


@app.command()
def drift(
    tokenizer: Annotated[
        str | None, typer.Argument(help="folder, tokenizer.json, tokenizer.model or hub id; default: embedded")
    ] = None,
    revision: Revision = None,
    loader: LoaderOption = Loader.AUTO,
    legacy: Legacy = None,
    prompt: Annotated[
        str,
        typer.Option(
            help="a prompt format such as llama2, chatml, mistral-v3, or your own module:Class or file.py:Class",
            autocompletion=prompt_formats,
        ),
    ] = "llama2",
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="a way of cutting, or your own module:function or file.py:function; repeat it; default: all known",
            autocompletion=cut_strategies,
        ),
    ] = None,
    dialogues: Annotated[
        Path | None, typer.Option(help="dialogues as JSON lines, a JSON array or Parquet; default: embedded")
    ] = None,
    replies: Annotated[
        str, typer.Option(help="dataset, model (embedded, for the dialogues it was taught), or a model folder")
    ] = "dataset",
    out: Annotated[
        Path | None,
        typer.Option(help="folder for Parquet, CSV, figures and the HTML report, or for the page of --against"),
    ] = None,
    trace: Annotated[int, typer.Option(help="how many prompts to explain", min=0)] = 200,
    against: Annotated[
        Literal["template"] | None, typer.Option(help="compare the prompt class with the tokenizer's own chat template")
    ] = None,
    trust_template: Annotated[
        bool,
        typer.Option(
            "--trust-template",
            help="read the tokenizer and render its template in this process, not in children with limits",
        ),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="go on without dialogues that cannot be read or placed, and count the reasons"),
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="a field that is left out of all messages, such as reasoning or tools; repeat it"),
    ] = None,
) -> None:
    """Measure, over many dialogues, what each way of cutting the echo does to the replies."""
    from chatlab.cli.parts.without import Without
    from chatlab.echo.summary import DriftTally
    from chatlab.embedded import dialogues_path, tokenizer_path

    with verdict():
        left_out = Without(without or ())
        made = out if out is not None and not out.exists() else None
        folder = _prepared(out)
        untrusted = against == "template" and not trust_template
        named = tokenizer or str(tokenizer_path("llama2-style/legacy"))
        reader = load(named, revision, loader, legacy, untrusted=untrusted)
        if against == "template":
            path = dialogues or dialogues_path()
            same = _against_template(reader, _prompt_class(prompt), path, folder, skip_bad, untrusted, left_out)
            raise typer.Exit(EXACT if same else DRIFT)
        study = _Study(
            reader,
            _prompt_class(prompt),
            dialogues or dialogues_path(),
            replies,
            _strategies(strategy),
            skip_bad,
            left_out,
        )
        tally = DriftTally()
        traces: list[EchoTrace] = []
        interrupted = study.run(folder, tally, traces, trace)
        if not tally.turn_count:
            if made:
                made.rmdir()
            _tell_kinds(study.bad)
            raise study.found_nothing(interrupted)
        _show(reader, tally, traces)
        if folder is not None:
            from chatlab.reports.drift import write_drift_report

            paths = write_drift_report(folder, tally, traces, f"Echo drift of {reader.name}")
            console.print(f"\nwritten to {folder}: drift.parquet, drift.csv, " + ", ".join(p.name for p in paths))
        if study.bad:
            _tell_left_out(study.bad)
        if interrupted:
            errors.print("interrupted: this is what was measured so far", style="yellow")
            raise typer.Exit(ERROR)
        raise typer.Exit(EXACT if tally.is_exact else DRIFT)


class _Study:
    """One run of the experiment from files to tally, with progress."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_class: Any,
        dialogues: Path,
        replies: str,
        strategies: list[CutStrategy],
        skip_bad: bool,
        without: Without,
    ) -> None:
        self.bad: list[ChatlabError] = []
        self._without = without
        self._strategies = strategies
        self._tokenizer, self._prompt_class, self._path = tokenizer, prompt_class, dialogues
        self._skip_bad = skip_bad
        self._on_bad = self.bad.append if skip_bad else None
        self._kind, self._replies = replies, _replies(replies)

    def run(self, folder: Path | None, tally: DriftTally, traces: list[EchoTrace], trace_count: int) -> bool:
        """Measure, then explain a sample; tell whether the user interrupted it."""
        from chatlab.echo.experiment import iter_drift

        total, labels = self._scan()
        with ExitStack() as stack:
            rows = None
            if folder is not None:
                from chatlab.reports.drift import DriftRows

                rows = stack.enter_context(DriftRows(folder))
            progress = stack.enter_context(progress_bar())
            task = progress.add_task("measuring", total=total)
            ctrl_c = stack.enter_context(CtrlC())
            seen = self._counted(ctrl_c, progress, task)
            try:
                for frame in iter_drift(
                    seen,
                    self._prompt_class,
                    self._tokenizer,
                    replies=self._replies,
                    strategies=self._strategies,
                    labels=labels,
                    on_bad=self._on_bad,
                ):
                    tally.add(frame)
                    if rows is not None:
                        rows.add(frame)
                task = progress.add_task("explaining", total=trace_count)
                for result in self._traces(total, 0 if ctrl_c.pressed else trace_count):
                    traces.append(result)
                    progress.advance(task)
                    if ctrl_c.pressed:
                        break
            except KeyboardInterrupt:
                pass
            finally:
                tally.add_traces(traces)
        return ctrl_c.pressed

    def found_nothing(self, interrupted: bool) -> ChatlabError:
        """Say why there is no prompt to tell of."""
        if interrupted:
            return ChatlabError(f"interrupted before a prompt of {self._path} was measured: nothing was written")
        if self.bad:
            first = f"its {len(self.bad)} dialogues were all left out; the first: {self.bad[0]}"
            return DialogueError(f"no prompt of {self._path} was measured: {first}")
        return DialogueError(
            f"no prompt of {self._path} was measured: it holds no dialogue whose questions have answers in --replies "
            f"{self._kind}. Write one a line, such as {_EXAMPLE}, or leave --dialogues out for the embedded ones"
        )

    def _read(self, on_bad: Callable[[DialogueError], None] | None = None) -> Iterator[Dialogue]:
        from chatlab.prompts.dialogue import read_dialogues

        return self._without.of(read_dialogues(self._path, self._skip_bad, on_bad))

    def _scan(self) -> tuple[int, list[str]]:
        """Count the dialogues and gather their labels, so that every batch has the same columns."""
        labels, total = set[str](), 0
        for dialogue in self._read():
            labels.update(map(str, dialogue.labels))
            total += 1
        self._without.check(self._path)
        return total, sorted(labels)

    def _counted(self, ctrl_c: CtrlC, progress: Progress, task: Any) -> Iterator[Dialogue]:
        for dialogue in self._read(self._on_bad):
            if ctrl_c.pressed:
                return
            yield dialogue
            progress.advance(task)

    def _traces(self, total: int, count: int) -> Iterator[EchoTrace]:
        """Explain the last prompt of dialogues spread evenly over the file."""
        from chatlab.echo.trace import trace_echo
        from chatlab.prompts.dialogue import prompts_of

        step = max(1, total // count) if count else total + 1
        for dialogue in islice(islice(self._read(), 0, None, step), count):
            try:
                *_, (_, last) = prompts_of(dialogue, self._prompt_class)
                yield trace_echo(self._tokenizer, last)
            except ChatlabError:
                # The measuring pass has met the same dialogue: it stopped there, or reported and left it out.
                if not self._skip_bad:
                    raise


def _prepared(out: Path | None) -> Path | None:
    if out is None:
        return None
    from chatlab.files import prepare_folder

    return prepare_folder(out)


def _prompt_class(name: str) -> Callable[[], AbstractChatPrompt]:
    """Return the prompt class of a format's name, or the user's own."""
    from chatlab.cli.parts.own_code import imported
    from chatlab.prompts.filling import prompt_class_of

    return prompt_class_of(imported(name) if ":" in name else name)


def _strategies(names: list[str] | None) -> list[CutStrategy]:
    """Return the known ways of cutting by name, and the user's own."""
    from chatlab.cli.parts.own_code import imported
    from chatlab.echo.cut import STRATEGIES, chosen_strategies

    return chosen_strategies([imported(name) if ":" in name else name for name in names or STRATEGIES])


def _replies(replies: str) -> Any:
    """Return what ``iter_drift`` takes: the embedded model answers only what it was taught."""
    if replies == "dataset":
        return "dataset"
    from chatlab.echo.generate import ModelReplies
    from chatlab.embedded import model_path

    with errors.status("loading the model"):
        model = ModelReplies(model_path() if replies == "model" else replies)
    if replies != "model":
        return model
    return lambda dialogue: model if dialogue.labels.get("kind") == "taught" else None


def _against_template(
    reader: Tokenizer,
    prompt_class: Callable[[], AbstractChatPrompt],
    path: Path,
    folder: Path | None,
    skip_bad: bool,
    untrusted: bool,
    without: Without,
) -> bool:
    """Show how the prompts of a class differ from the tokenizer's own template; tell whether they do not."""
    from chatlab.prompts.dialogue import read_dialogues
    from chatlab.prompts.difference import compare_with_template

    if reader.wrapped is None:
        raise PromptError(
            f"{reader.name} was read by {reader.loader}, which knows no chat templates: --loader transformers"
        )
    bad: list[ChatlabError] = []
    on_bad = bad.append if skip_bad else None
    dialogues = without.of(read_dialogues(path, skip_bad, on_bad))
    comparison = compare_with_template(
        prompt_class, reader.wrapped, dialogues, untrusted=untrusted, on_bad=on_bad, progress=True
    )
    if bad:
        _tell_left_out(bad)
    without.check(path)
    if not comparison.prompts:
        raise DialogueError(f"{path} holds no dialogue to compare: write one a line, such as {_EXAMPLE}")
    console.print(Text(str(comparison)))
    example = next((d for d in comparison.differences if d.text_edits()), None)
    if example is not None:
        console.print(f"\nThe class against the template, dialogue {example.dialogue_id}, turn {example.turn_number}:")
        console.print(Text(diff_text(example.parts(), context_len=40)), soft_wrap=True)
    if folder is not None:
        console.print(f"\nwritten to {comparison.save_html(folder / 'template.html')}")
    return comparison.same_text == comparison.same_ids == comparison.prompts and not comparison.flaws


def _tell_left_out(bad: list[ChatlabError]) -> None:
    errors.print(Text.assemble((f"{len(bad)} dialogues were left out", "yellow"), f"; the first: {bad[0]}"))
    _tell_kinds(bad)


def _tell_kinds(bad: list[ChatlabError]) -> None:
    kinds = Counter(error.kind for error in bad)
    for kind, count in kinds.most_common(_SHOWN_KINDS):
        errors.print(f"{count:>8,}  {kind}", soft_wrap=True)
    if len(kinds) > _SHOWN_KINDS:
        errors.print(f"          and {len(kinds) - _SHOWN_KINDS} reasons more")


def _show(reader: Tokenizer, tally: DriftTally, traces: list[EchoTrace]) -> None:
    from chatlab.echo.summary import share_text

    versions = ", ".join(f"{name} {number}" for name, number in sorted(reader.versions.items()))
    table = Table(title=f"Replies after each way of cutting ({reader.name}, {versions})", title_justify="left")
    columns = ("strategy", "replies", "wrong", "share", "mostly", "not applicable")
    for column, justify in zip(columns, ("left", "right", "right", "right", "left", "right"), strict=True):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich's JustifyMethod is a Literal
    for cut in tally.cut_counts():
        colour = "red" if cut.wrong else "green"
        counts = f"{cut.replies:,}", Text(f"{cut.wrong:,}", colour), share_text(cut.wrong_share), cut.mostly
        table.add_row(cut.strategy, *counts, f"{cut.not_applicable:,}" if cut.not_applicable else "")
    console.print(table)
    causes = Table(title=f"Why the echo differs ({tally.traced_count} prompts explained)", title_justify="left")
    for column in ("cause", "edits", "what to do"):
        causes.add_column(column, justify="right" if column == "edits" else "left")
    for cause, count, cure in tally.causes().itertuples(index=False, name=None):
        causes.add_row(cause, f"{count:,}", cure)
    if tally.traced_count:
        console.print(causes)
    example = next((t for t in traces if t.surprises), None)
    if example is not None:
        console.print("One of them, cut down to its edits:")
        console.print(diff_of(example, context_len=12), soft_wrap=True)
    console.print()
    for sentence in tally.verdict():
        console.print(Text(f"• {sentence}"))
