"""One prompt, one tokenizer: where the echo differs, which token did it, why, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from chatlab import render
from chatlab.echo.causes import iter_edits, laboratory_of
from chatlab.echo.edits import Cause, Edit
from chatlab.echo.reading import EchoSetting
from chatlab.errors import EncodeError, TokenIdError
from chatlab.plain import Plain
from chatlab.progress.meter import Meter, length_of
from chatlab.progress.progress import Reporter
from chatlab.prompts.base import AbstractChatPrompt, prompt_text
from chatlab.prompts.dialogue import Dialogue, prompts_of
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.results import Result
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

EchoPrompt = str | AbstractChatPrompt | Dialogue | Sequence[Mapping[str, Any]]
"""A text, or what gives one: a prompt class with its history; messages or a dialogue for the chat template."""

EDIT_CAP = 300
"""Edits drawn at most, so that no output grows past what a code host draws."""

DOUBT_CAP = 3
"""Experiments that do not count, named at most in a summary."""


@dataclass(frozen=True, kw_only=True)
class EchoTrace(Result, Plain):
    """A prompt beside its echo, and every edit between the two.

    Replacing each edit's prompt span by its echo text turns ``prompt`` into ``echo``: :meth:`replay` does it.
    """

    title = "Prompt and echo"
    told_beside = ("drift",)

    tokenizer: str
    loader: str
    versions: Mapping[str, str]
    add_special_tokens: bool
    skip_special_tokens: bool
    prompt: str
    token_ids: tuple[int, ...]
    echo: str
    edits: tuple[Edit, ...]
    skip_echo_len: int
    """Characters a program plans to skip: the prompt without the control tokens it will not see."""
    uncounted: tuple[str, ...] = ()
    """Experiments that do not count, and why: a copy of the tokenizer with nothing changed echoes otherwise."""

    @property
    def echo_len(self) -> int:
        """Characters of the echo."""
        return len(self.echo)

    @property
    def drift(self) -> int:
        """``echo_len - skip_echo_len``: positive leaks the prompt into the reply, negative eats the reply."""
        return self.echo_len - self.skip_echo_len

    @property
    def surprises(self) -> tuple[Edit, ...]:
        """The edits that nobody plans for: all but the control tokens that were asked to be skipped."""
        return tuple(edit for edit in self.edits if edit.cause is not Cause.SPECIAL_REMOVED)

    def cause_counts(self) -> dict[Cause, int]:
        """How many edits each cause has, most first."""
        return dict(Counter(edit.cause for edit in self.edits).most_common())

    def replay(self) -> str:
        """Return the prompt with the edits applied: the echo, if the trace is true."""
        text = self.prompt
        for edit in reversed(self.edits):
            text = text[: edit.prompt_span[0]] + edit.echo_text + text[edit.prompt_span[1] :]
        return text

    def parts(self, edit_cap: int | None = None) -> Iterator[render.Part]:
        """Yield the diff, left to right, up to the end or with no more edits than ``edit_cap``."""
        at = 0
        for edit in self.edits[:edit_cap]:
            if at < edit.prompt_span[0]:
                yield render.Part("same", self.prompt[at : edit.prompt_span[0]])
            note = f"{edit.cause}: {edit.cure}"
            if edit.prompt_text and edit.kind != "keep":
                yield render.Part("del", edit.prompt_text, note)
            if edit.echo_text:
                yield render.Part("ins", edit.echo_text, note)
            at = edit.prompt_span[1]
        if edit_cap is not None and len(self.edits) > edit_cap:
            return
        if at < len(self.prompt):
            yield render.Part("same", self.prompt[at:])

    def summary(self) -> str:
        """Return one sentence: how far it drifts and why."""
        if not self.edits:
            return f"{self.tokenizer}: the echo is the prompt, character for character."
        counts = ", ".join(f"{n} × {cause}" for cause, n in self.cause_counts().items())
        return f"{self.tokenizer}: drift {self.drift:+d} ({self.echo_len} characters echoed, {self.skip_echo_len} planned): {counts}.{self._doubts()}"

    def _doubts(self) -> str:
        shown = "; ".join(render.visible(why) for why in self.uncounted[:DOUBT_CAP])
        more = f"; {len(self.uncounted) - DOUBT_CAP} more" if len(self.uncounted) > DOUBT_CAP else ""
        return f" Experiments that do not count: {shown}{more}." if shown else ""

    def to_frame(self) -> pd.DataFrame:
        """Return one row an edit."""
        import pandas as pd

        rows = [edit.to_dict() for edit in self.edits]
        columns = ["prompt_offset", "echo_offset", "kind", "prompt_text", "echo_text", "token_index", "piece", "drift"]
        frame = pd.DataFrame(
            [
                {
                    **row,
                    "prompt_offset": row["prompt_span"][0],
                    "echo_offset": row["echo_span"][0],
                    "evidence": row["evidence"]["changed"] if row["evidence"] else "",
                }
                for row in rows
            ],
            columns=[*columns, "cause", "evidence", "cure"],
        )
        return frame

    def figure(self) -> Drawing:
        """Draw the drift along the prompt, edit by edit."""
        from chatlab.plots import plot_echo

        return plot_echo(self)

    def __str__(self) -> str:
        return f"{self.summary()}\n{render.diff_text(self.parts(), context_len=40)}"

    def body(self) -> str:
        """Return the summary, the diff and the table of edits as escaped HTML."""
        columns = ["at", "prompt", "echo", "token", "cause", "proof", "cure"]
        rows = [
            (
                edit.prompt_span[0],
                render.visible(edit.prompt_text),
                render.visible(edit.echo_text),
                edit.piece,
                edit.cause,
                edit.evidence.changed if edit.evidence else "none found",
                edit.cure,
            )
            for edit in self.edits[:EDIT_CAP]
        ]
        return self.diff_body(200) + (render.table_html(columns, rows) if rows else "")

    def diff_body(self, context_len: int) -> str:
        """Return the summary and the diff as escaped HTML, and where it is cut short, say so."""
        note = f"only the first {EDIT_CAP} of {len(self.edits):,} edits are drawn; to_frame() has them all"
        return (
            render.paragraph_html(self.summary())
            + render.diff_html(self.parts(EDIT_CAP), context_len)
            + (render.paragraph_html(note) if len(self.edits) > EDIT_CAP else "")
        )


def trace_echo(
    tokenizer: Any,
    prompt: EchoPrompt,
    *,
    add_special_tokens: bool = False,
    skip_special_tokens: bool = True,
    keep: slice = slice(None),
) -> EchoTrace:
    """Encode a prompt, decode it again, and explain every difference.

    Args:
        tokenizer: an AutoTokenizer, raw ``tokenizers.Tokenizer``, ``SentencePieceProcessor``, a path, or an adapter.
        prompt: a text, or a prompt class instance whose ``create_prompt`` gives it. Messages and dialogues are
            written by the tokenizer's own chat template, a dialogue up to where its last reply begins.
        add_special_tokens: as the program calls the tokenizer; chat prompts usually spell their own ``<s>``.
        skip_special_tokens: as the program decodes.
        keep: the part of the ids that the program passes on, such as ``slice(-1024, None)`` for a left cut.

    Raises:
        EncodeError: the prompt is not text a tokenizer can take, or the tokenizer's library gives up on it.
        PromptError: the messages or the dialogue are none that the chat template can write.
        TokenIdError: ``keep`` skips ids or turns them round.
        TokenizerLoadError: ``tokenizer`` is none.

    >>> from tokenizers import Tokenizer, models, normalizers
    >>> lower = Tokenizer(models.BPE({"a": 0, "b": 1, "B": 2}, []))
    >>> lower.normalizer = normalizers.Lowercase()
    >>> trace_echo(lower, "aB").edits[0].cause
    <Cause.NORMALIZER: 'normalizer'>
    """
    reader = as_tokenizer(tokenizer)
    text = _text_of(prompt, reader)
    if not isinstance(keep, slice) or keep.step not in (None, 1):
        raise TokenIdError(f"keep cuts ids off at the ends and is a slice(start, end), not {keep!r}")
    setting = EchoSetting(
        tokenizer=reader,
        prompt=text,
        add=add_special_tokens,
        skip=skip_special_tokens,
        keep=(keep.start, keep.stop),
    )
    laboratory = laboratory_of(setting)
    reading = laboratory.before
    edits = tuple(iter_edits(laboratory))
    planned = reader.without_special_strs(text) if skip_special_tokens else text
    return EchoTrace(
        tokenizer=reader.name,
        loader=reader.loader,
        versions=reader.versions,
        add_special_tokens=add_special_tokens,
        skip_special_tokens=skip_special_tokens,
        prompt=text,
        token_ids=tuple(reading.token_ids),
        echo=reading.echo,
        edits=edits,
        skip_echo_len=len(planned),
        uncounted=tuple(laboratory.uncounted),
    )


def _text_of(prompt: object, reader: Tokenizer) -> str:
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, AbstractChatPrompt):
        return prompt_text(prompt)
    is_dialogue = isinstance(prompt, Dialogue)
    if not is_dialogue and not (isinstance(prompt, list | tuple) and prompt and isinstance(prompt[0], Mapping)):
        raise EncodeError(f"a prompt is a str, a prompt class instance, messages or a dialogue, not {_kind(prompt)}")
    if not getattr(reader.wrapped, "chat_template", None):
        way = "prompts_of(dialogue, PromptClass)" if is_dialogue else "prompt_of_messages(messages, PromptClass)"
        raise EncodeError(
            f"{reader.name} carries no chat template that could write a {_kind(prompt)}: give the text, or a prompt "
            f"of chatlab.prompts.{'dialogue' if is_dialogue else 'messages'}.{way}"
        )

    def in_template() -> ChatTemplatePrompt:
        return ChatTemplatePrompt(reader.wrapped)

    if isinstance(prompt, Dialogue):
        *_, (_, last) = prompts_of(prompt, in_template)
        return prompt_text(last)
    return prompt_text(prompt_of_messages(cast(Sequence[Mapping[str, Any]], prompt), in_template))


def _kind(prompt: object) -> str:
    return prompt.__name__ if isinstance(prompt, type) else type(prompt).__name__


def trace_echoes(
    tokenizer: Any,
    prompts: Iterable[EchoPrompt],
    *,
    progress: bool | Reporter = False,
    **options: Any,
) -> Iterator[EchoTrace]:
    """Trace many prompts with one tokenizer; its experiments are set up once.

    Args:
        tokenizer: as for :func:`trace_echo`.
        prompts: what to trace.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.
        options: as for :func:`trace_echo`.
    """
    reader = as_tokenizer(tokenizer)
    with Meter(progress, "explaining", "prompts", length_of(prompts)) as meter:
        for prompt in prompts:
            yield trace_echo(reader, prompt, **options)
            meter.advance()
