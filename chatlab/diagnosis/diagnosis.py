"""``diagnose``: one page about a tokenizer whose first line is the answer, with the lines to paste."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlab import render
from chatlab.diagnosis.answer import Answer, Question
from chatlab.diagnosis.case import Case, case_of
from chatlab.diagnosis.echo import SkipEchoLen, cut_answer, echo_answer
from chatlab.diagnosis.files import file_answers
from chatlab.diagnosis.turns import turns_answer
from chatlab.forms import Report, Section, to_html, to_markdown, to_rich
from chatlab.plain import Plain
from chatlab.progress.meter import Meter
from chatlab.progress.progress import Reporter
from chatlab.prompts.filling import AnyPromptClass
from chatlab.results import Result
from chatlab.severity import Severity
from chatlab.terminal import Terminal

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

COLUMNS = ("question", "severity", "answer", "smallest example", "cause", "cure")


@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnosis(Plain, Result):
    """What is wrong with a tokenizer, its template and a program's way of cutting, and the lines that mend it."""

    title = "Diagnosis"

    name: str
    prompt_class: str
    """The prompt format, and why that one."""
    dialogue_len: int
    """Dialogues that were tried."""
    answers: tuple[Answer, ...]
    """One a question, in the order of :class:`Question`."""

    @property
    def faults(self) -> tuple[Answer, ...]:
        """What is to be mended, the worst first."""
        return tuple(sorted((a for a in self.answers if a.is_fault), key=lambda a: -a.severity))

    @property
    def exit_code(self) -> int:
        """0 where nothing is to be mended, else 1."""
        return int(bool(self.faults))

    @property
    def verdict(self) -> str:
        """The answer to everything in one line."""
        unknown = [answer for answer in self.answers if not answer.is_known]
        beside = f" {len(unknown)} of {len(self.answers)} questions could not be answered." if unknown else ""
        if not self.faults:
            return f"Nothing to mend.{beside}"
        worst = self.faults[0]
        return f"{len(self.faults)} things to mend. First: {worst.question} {worst.told}{beside}"

    def answer(self, question: Question | str) -> Answer:
        """Return the answer to one question."""
        wanted = Question(question)
        return next(answer for answer in self.answers if answer.question is wanted)

    def fix(self) -> None:
        """Print the lines to paste, the worst fault first."""
        Terminal().write(self.fix_text())

    def fix_text(self) -> str:
        """Return the lines to paste, each line once."""
        parts: list[str] = []
        seen: set[str] = set()
        for fault in self.faults:
            new = [line for line in fault.fix if line not in seen]
            seen |= set(new) - {""}
            if any(new):
                parts += [f"# {fault.question} {render.one_line(fault.cure)}", *new, ""]
        return render.readable("\n".join(parts).rstrip() or "# nothing to mend")

    def report(self) -> Report:
        """Return what there is to show, whatever the form."""
        rows = tuple((str(a.question), a.severity.label if a.is_known else "not known", a.told) for a in self.answers)
        return Report(
            heading=self.name,
            severity=max((answer.severity for answer in self.answers), default=Severity.NONE),
            verdict=self.verdict,
            lines=(f"prompt format: {self.prompt_class}", f"{self.dialogue_len} dialogues tried"),
            sections=(
                Section(title="Answers", header=("question", "severity", "answer"), rows=rows),
                *(
                    Section(title=str(fault.question), lines=tuple(_lines(fault)), diff="\n".join(fault.fix))
                    for fault in self.faults
                ),
            ),
        )

    def __repr__(self) -> str:
        return render.readable(f"<Diagnosis of {self.name}: {self.verdict}>")

    def __str__(self) -> str:
        lines = [f"  {a.question} {a.told}" for a in self.answers]
        return "\n".join(map(render.one_line, [f"{self.name}: {self.verdict}", *lines]))

    def __rich__(self) -> Any:
        return to_rich(self.report())

    def to_markdown(self) -> str:
        """Return the page for an issue or a pull request."""
        return to_markdown(self.report())

    def body(self) -> str:
        """Return the page as escaped HTML."""
        return to_html(self.report())

    def to_frame(self) -> pd.DataFrame:
        """Return one row a question: severity, answer, smallest example, cause, cure."""
        import pandas as pd

        rows = [(str(a.question), a.severity.label, a.told, a.example, a.cause, a.cure) for a in self.answers]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def figure(self) -> Drawing:
        """Draw how bad each answer is."""
        from chatlab.plots import plot_counts

        severities = [int(answer.severity) for answer in self.answers]
        return plot_counts([str(a.question) for a in self.answers], severities, "severity (5 is BREAKING)", self.name)


def _lines(fault: Answer) -> Iterator[str]:
    yield fault.told
    named = (("smallest example", fault.example), ("cause", fault.cause), ("cure", fault.cure))
    yield from (f"{name}: {text}" for name, text in named if text)


def diagnose(
    tokenizer: Any,
    prompt_class: AnyPromptClass | None = None,
    dialogues: Any = None,
    *,
    skip_echo_len: SkipEchoLen | None = None,
    revision: str | None = None,
    loader: str = "auto",
    progress: bool | Reporter = False,
) -> Diagnosis:
    """Ask everything that goes wrong with a chat model's tokenizer, and say what to paste.

    It calls the studies: :func:`chatlab.trace_echo`, :func:`chatlab.measure_drift`, :func:`chatlab.measure_turns`,
    :func:`chatlab.audit_template` and :func:`chatlab.snapshot`; go to them for more than the smallest example.

    Args:
        tokenizer: a folder, file or hub id; or a tokenizer as :func:`chatlab.trace_echo` takes it, of whose files then
            nothing is known.
        prompt_class: a prompt class or the name of a format; left out, what fits the model.
        dialogues: as ``read_dialogues`` takes them; left out, a few of every kind of the embedded ones.
        skip_echo_len: how your program cuts the echo: a number of characters, the name of a known way, or a function
            of the prompt's text that gives the number; left out, the two commonest ways are tried.
        revision: of a hub id.
        loader: which library reads the tokenizer.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        TokenizerLoadError: the source does not load.
        PromptError: the prompt class is none.
        DialogueError: the dialogues cannot be read.
        CutError: ``skip_echo_len`` is no way of cutting.
    """
    with Meter(progress, "diagnosing", "questions", len(Question)) as meter:
        load = {"revision": revision, "loader": loader}
        case = case_of(tokenizer, prompt_class, dialogues, **load)
        found: list[Answer] = []
        for answer in _answers(case, skip_echo_len):
            found.append(answer)
            meter.advance()
    format_name = "none" if case.prompt_class is None else getattr(case.prompt_class, "__name__", None)
    return Diagnosis(
        name=case.name,
        prompt_class=f"{format_name or getattr(case.prompt_class, 'name', 'yours')} ({case.why})",
        dialogue_len=len(case.dialogues),
        answers=tuple(found),
    )


def _answers(case: Case, skip_echo_len: SkipEchoLen | None) -> Iterator[Answer]:
    yield echo_answer(case)
    yield cut_answer(case, skip_echo_len)
    yield turns_answer(case)
    yield from file_answers(case)
