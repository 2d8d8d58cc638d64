"""The ``chatlab`` command: thin shells over the library, with progress, tables and exit codes.

Exit codes of ``drift`` and ``trace``: 0 the echo is exact, 1 drift was found, 2 an error or a bad argument.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from chatlab.errors import ChatlabError, PromptError, SourceNotFound

if TYPE_CHECKING:
    from chatlab.echo.summary import DriftTally
    from chatlab.echo.trace import EchoTrace
    from chatlab.prompts.base import AbstractChatPrompt
    from chatlab.prompts.dialogue import Dialogue
    from chatlab.tokenizers.interface import Tokenizer

EXACT, DRIFT, ERROR = 0, 1, 2

app = typer.Typer(
    help="See where a chat model's echo differs from its prompt, why, and what to do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console()
errors = Console(stderr=True)

Loader = Literal["auto", "transformers", "tokenizers", "sentencepiece"]
Legacy = Annotated[
    bool | None, typer.Option("--legacy/--no-legacy", help="the Llama switch; left out, the library decides")
]


def main() -> None:
    """Run the command line."""
    # transformers and tokenizers print advice about forks and missing models that does not concern a drift table.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    app()


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Turn our errors into one line and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        yield
    except ChatlabError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(ERROR) from error


@app.command()
def drift(
    tokenizer: Annotated[
        str | None, typer.Argument(help="folder, tokenizer.json, tokenizer.model or hub id; default: embedded")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="commit, tag or branch of a hub id")] = None,
    loader: Annotated[Loader, typer.Option(help="which library reads the tokenizer")] = "auto",
    legacy: Legacy = None,
    prompt: Annotated[str, typer.Option(help="a prompt class: llama2, or module:Class")] = "llama2",
    dialogues: Annotated[Path | None, typer.Option(help="JSON lines of dialogues; default: embedded")] = None,
    replies: Annotated[
        str, typer.Option(help="dataset, model (embedded, for the dialogues it was taught), or a model folder")
    ] = "dataset",
    out: Annotated[Path | None, typer.Option(help="folder for Parquet, CSV, figures and the HTML report")] = None,
    trace: Annotated[int, typer.Option(help="how many prompts to explain", min=0)] = 200,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="report dialogues that cannot be read and go on")
    ] = False,
) -> None:
    """Measure, over many dialogues, what each way of cutting the echo does to the replies."""
    from chatlab.echo.summary import DriftTally
    from chatlab.embedded import dialogues_path, tokenizer_path

    with _typed_errors():
        folder = _prepared(out)
        reader = _load(tokenizer or str(tokenizer_path("llama2-style/legacy")), revision, loader, legacy)
        study = _Study(reader, _prompt_class(prompt), dialogues or dialogues_path(), replies, skip_bad)
        tally = DriftTally()
        traces: list[EchoTrace] = []
        interrupted = study.run(folder, tally, traces, trace)
        _show(reader, tally, traces)
        if folder is not None:
            from chatlab.reports.drift import write_drift_report

            paths = write_drift_report(folder, tally, traces, f"Echo drift of {reader.name}")
            console.print(
                f"\nwritten to {escape(str(folder))}: drift.parquet, drift.csv, " + ", ".join(p.name for p in paths)
            )
        if study.bad:
            errors.print(f"[yellow]{len(study.bad)} dialogues were left out[/]; the first: {escape(str(study.bad[0]))}")
        if interrupted:
            errors.print("[yellow]interrupted: this is what was measured so far[/]")
            raise typer.Exit(ERROR)
    raise typer.Exit(EXACT if tally.is_exact else DRIFT)


@app.command()
def trace(
    tokenizer: Annotated[str, typer.Argument(help="folder, tokenizer.json, tokenizer.model or hub id")],
    text: Annotated[str, typer.Argument(help="the prompt, or - to read it from standard input")] = "-",
    revision: Annotated[str | None, typer.Option(help="commit, tag or branch of a hub id")] = None,
    loader: Annotated[Loader, typer.Option(help="which library reads the tokenizer")] = "auto",
    legacy: Legacy = None,
    add_special_tokens: Annotated[bool, typer.Option("--add-special-tokens", help="encode with BOS and EOS")] = False,
    keep_special_tokens: Annotated[
        bool, typer.Option("--keep-special-tokens", help="decode without skipping them")
    ] = False,
) -> None:
    """Show one prompt against its echo: every edit with its token, cause, proof and cure."""
    from chatlab.echo.trace import trace_echo

    with _typed_errors():
        prompt = _standard_input() if text == "-" else text
        reader = _load(tokenizer, revision, loader, legacy)
        result = trace_echo(
            reader, prompt, add_special_tokens=add_special_tokens, skip_special_tokens=not keep_special_tokens
        )
        _show_trace(result)
    raise typer.Exit(DRIFT if result.surprises else EXACT)


@app.command()
def lab(
    folder: Annotated[Path, typer.Option(help="where an installed copy puts the notebooks")] = Path(
        "chatlab-notebooks"
    ),
) -> None:
    """Open JupyterLab on the notebooks; from an installed wheel they are copied to a folder first."""
    with _typed_errors():
        notebooks = _notebooks(folder)
    raise typer.Exit(subprocess.call([sys.executable, "-m", "jupyter", "lab", str(notebooks)]))


class _Study:
    """One run of the experiment from files to tally, with progress."""

    def __init__(self, tokenizer: Tokenizer, prompt_class: Any, dialogues: Path, replies: str, skip_bad: bool) -> None:
        self.bad: list[ChatlabError] = []
        self._tokenizer, self._prompt_class, self._path = tokenizer, prompt_class, dialogues
        self._skip_bad = skip_bad
        self._on_bad = self.bad.append if skip_bad else None
        self._replies = _replies(replies)

    def run(self, folder: Path | None, tally: DriftTally, traces: list[EchoTrace], trace_count: int) -> bool:
        """Measure, then explain a sample; tell whether the user interrupted it."""
        from contextlib import ExitStack

        from chatlab.echo.experiment import iter_drift

        total, labels = self._scan()
        with ExitStack() as stack:
            rows = None
            if folder is not None:
                from chatlab.reports.drift import DriftRows

                rows = stack.enter_context(DriftRows(folder))
            progress = stack.enter_context(_progress())
            task = progress.add_task("measuring", total=total)
            seen = self._counted(progress, task)
            try:
                for frame in iter_drift(
                    seen, self._prompt_class, self._tokenizer, replies=self._replies, labels=labels, on_bad=self._on_bad
                ):
                    tally.add(frame)
                    if rows is not None:
                        rows.add(frame)
                task = progress.add_task("explaining", total=trace_count)
                for result in self._traces(total, trace_count):
                    traces.append(result)
                    progress.advance(task)
            except KeyboardInterrupt:
                return True
            finally:
                tally.add_traces(traces)
        return False

    def _read(self) -> Iterator[Dialogue]:
        from chatlab.prompts.dialogue import read_dialogues

        return read_dialogues(self._path, self._skip_bad, self._on_bad)

    def _scan(self) -> tuple[int, list[str]]:
        """Count the dialogues and gather their labels, so that every batch has the same columns."""
        from chatlab.prompts.dialogue import read_dialogues

        labels, total = set[str](), 0
        for dialogue in read_dialogues(self._path, self._skip_bad):
            labels.update(map(str, dialogue.labels))
            total += 1
        return total, sorted(labels)

    def _counted(self, progress: Progress, task: Any) -> Iterator[Dialogue]:
        for dialogue in self._read():
            yield dialogue
            progress.advance(task)

    def _traces(self, total: int, count: int) -> Iterator[EchoTrace]:
        """Explain the last prompt of dialogues spread evenly over the file."""
        from chatlab.echo.trace import trace_echo
        from chatlab.prompts.dialogue import prompts_of, read_dialogues

        step = max(1, total // count) if count else total + 1
        for dialogue in islice(islice(read_dialogues(self._path, self._skip_bad), 0, None, step), count):
            try:
                *_, (_, last) = prompts_of(dialogue, self._prompt_class)
                yield trace_echo(self._tokenizer, last)
            except ChatlabError:
                # The measuring pass has met the same dialogue: it stopped there, or reported and left it out.
                if not self._skip_bad:
                    raise


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=errors, transient=True)


def _prepared(out: Path | None) -> Path | None:
    if out is None:
        return None
    from chatlab.reports.files import prepare_folder

    return prepare_folder(out)


def _load(source: str, revision: str | None, loader: Loader, legacy: bool | None) -> Tokenizer:
    from chatlab.tokenizers.load import load_tokenizer

    with errors.status("loading the tokenizer"):
        return load_tokenizer(source, revision, loader=loader, legacy=legacy)


def _prompt_class(name: str) -> type[AbstractChatPrompt]:
    from chatlab.prompts.llama2 import ChatPromptMetaLlamaLlama2Chat

    if name == "llama2":
        return ChatPromptMetaLlamaLlama2Chat
    module, colon, class_name = name.partition(":")
    if not colon:
        raise PromptError(f"no prompt class is called {name!r}: give llama2, or your own as module:Class")
    sys.path.insert(0, os.getcwd())
    try:
        found: type[AbstractChatPrompt] = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise PromptError(f"{name} did not import: {error}") from error
    return found


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


def _standard_input() -> str:
    if sys.stdin.isatty():
        errors.print("reading the prompt from standard input; end with Ctrl-D")
    return sys.stdin.buffer.read().decode("utf-8", errors="surrogateescape")


def _show(reader: Tokenizer, tally: DriftTally, traces: list[EchoTrace]) -> None:
    versions = ", ".join(f"{name} {number}" for name, number in sorted(reader.versions.items()))
    table = Table(title=f"Replies after each way of cutting ({escape(reader.name)}, {versions})", title_justify="left")
    for column, justify in (
        ("strategy", "left"),
        ("replies", "right"),
        ("wrong", "right"),
        ("share", "right"),
        ("mostly", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich's JustifyMethod is a Literal
    for name, total, wrong, share, mostly in tally.by_strategy().itertuples(index=False, name=None):
        colour = "red" if wrong else "green"
        table.add_row(name, f"{total:,}", f"[{colour}]{wrong:,}[/]", f"{share:.1%}", mostly)
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
        console.print(_diff(example, context_len=12), soft_wrap=True)
    console.print()
    for sentence in tally.verdict():
        console.print(Text(f"• {sentence}"))


def _show_trace(result: EchoTrace) -> None:
    console.print(Text(result.summary()))
    console.print(_diff(result, context_len=None), soft_wrap=True)
    if not result.edits:
        return
    table = Table()
    for column in ("at", "prompt", "echo", "token", "cause", "proof", "cure"):
        table.add_column(column)
    from chatlab.render import visible

    for edit in result.edits:
        proof = edit.evidence.changed if edit.evidence else "none found"
        cells = (
            str(edit.prompt_span[0]),
            visible(edit.prompt_text),
            visible(edit.echo_text),
            edit.piece,
            edit.cause,
            proof,
            edit.cure,
        )
        table.add_row(*(Text(cell.replace("\n", "")) for cell in cells))
    console.print(table)


def _diff(result: EchoTrace, context_len: int | None) -> Text:
    from chatlab.render import diff_text

    styles = {"same": "", "del": "red", "ins": "bold blue"}
    text = Text()
    for part in result.parts():
        text.append(diff_text([part], context_len), style=styles[part.kind])
    return text


def _notebooks(folder: Path) -> Path:
    """Return the checkout's notebooks, or a copy of the installed ones that the user may change."""
    package = Path(__file__).parent
    checkout = package.parent / "notebooks"
    if checkout.is_dir():
        return checkout
    installed = package / "embedded_notebooks"
    if not installed.is_dir():
        raise SourceNotFound(f"no notebooks in {package}: install chatlab-research again, or run from a checkout")
    for notebook in sorted(installed.glob("*.ipynb")):
        target = folder / notebook.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(notebook, target)
    return folder
