"""Measure over many dialogues how much of each call the next prompt still begins with, and why not more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.echo.experiment import AnyDialogues, readable, versions_text
from chatlab.echo.growing import GrowingPrompts
from chatlab.echo.replies import ReplyStart
from chatlab.errors import ChatlabError, DialogueError, PromptError
from chatlab.progress.meter import Meter, length_of
from chatlab.progress.progress import Reporter
from chatlab.prompts.base import prompt_text
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.prompts.filling import AnyPromptClass, new_prompt, offer
from chatlab.tokenizers.interface import Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.load import as_tokenizer
from chatlab.turns.border import Border, end_len
from chatlab.turns.causes.case import Case, TurnSetting
from chatlab.turns.causes.explain import iter_edits, laboratory_of
from chatlab.turns.causes.reading import TurnReading
from chatlab.turns.talk import History, Replies, SaidCall, Store, Talks
from chatlab.turns.trace import case_of, dialogue_of, writer_of
from chatlab.turns.trajectories import Trajectory, said_calls, writer_for
from chatlab.turns.turn_table import MeasuredBorder, concat_turns, turn_rows

if TYPE_CHECKING:
    import pandas as pd

BATCH_LEN = 256
"""Dialogues encoded at once: enough for the batch calls to pay, few enough to stream."""


def measure_turns(
    dialogues: AnyDialogues | Iterable[Trajectory],
    prompt_class: AnyPromptClass | None,
    tokenizer: Any,
    *,
    stored: Store = "verbatim",
    reply_ids: Replies | Callable[[Dialogue], Replies] = "canonical",
    reply_start: ReplyStart | None = None,
    history: History | None = None,
    trace: bool = True,
    model: Any = None,
    add_special_tokens: bool = False,
    on_bad: Callable[[ChatlabError], None] | None = None,
    progress: bool | Reporter = False,
) -> pd.DataFrame:
    """Return one row a border between two calls: what is kept, what is lost, why, and what it costs.

    Args:
        dialogues: in any shape and from any place that ``read_dialogues`` reads; or conversations in ids, of
            :func:`chatlab.turns.trajectories.read_trajectories`.
        prompt_class: a prompt class, or the name of a format; None for the tokenizer's own chat template.
        tokenizer: whatever :func:`chatlab.trace_turns` takes.
        stored: what the program keeps of each reply; see there, and so are the arguments not named here.
        reply_ids: as there, or a function of the dialogue that gives it.
        reply_start: how a reply begins; left out, with a space before a first word, and as it is with a template.
        history: as there.
        trace: also prove why a border is lost; without, ``layer`` and ``cause`` are empty, and it is much faster.
        model: a causal language model, or its folder: how likely it finds each reply as it said it, and as the next
            prompt has it, in natural logs (``logprob_said``, ``logprob_next``, ``logprob_change``).
        add_special_tokens: as there.
        on_bad: called with the error of each dialogue that cannot be measured, which is then left out.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    ``reread_len`` are the ids of the next prompt that a server reads anew, ``wasted_len`` those that it held for nothing,
    ``cache_lost_share`` these of all that it held over the conversation. Of a lost border ``layer``, ``cause``,
    ``same_text`` and ``design`` tell of its first difference.

    Raises:
        DialogueError: a dialogue cannot be measured, and there is no ``on_bad``.
        EncodeError: there is no prompt class and no chat template.
        GenerationError: an engine, ``stored`` or ``history`` fails.
        PromptError: the prompt class makes no prompt or fails.
    """
    frames = iter_turns(
        dialogues,
        prompt_class,
        tokenizer,
        stored=stored,
        reply_ids=reply_ids,
        reply_start=reply_start,
        history=history,
        trace=trace,
        model=model,
        add_special_tokens=add_special_tokens,
        on_bad=on_bad,
        progress=progress,
    )
    return concat_turns(frames)


def iter_turns(
    dialogues: AnyDialogues | Iterable[Trajectory],
    prompt_class: AnyPromptClass | None,
    tokenizer: Any,
    *,
    labels: Sequence[str] | None = None,
    on_bad: Callable[[ChatlabError], None] | None = None,
    progress: bool | Reporter = False,
    **options: Any,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of :func:`measure_turns` batch by batch, in constant memory.

    Args:
        dialogues: as there.
        prompt_class: as there.
        tokenizer: as there.
        labels: which labels become columns; left out, those that a batch has.
        on_bad: as there.
        progress: as there.
        options: the others there.
    """
    reader = as_tokenizer(tokenizer)
    study = _Study(reader, prompt_class, on_bad, **options)
    constants = {
        "prompt_class": study.written_by,
        "stored": study.stored_name,
        "tokenizer": reader.name,
        "loader": reader.loader,
    }
    constants["versions"] = versions_text(reader.versions)
    source = readable(dialogues, on_bad)
    stream = iter(source)
    with Meter(progress, "measuring", "dialogues", length_of(source)) as meter:
        while batch := list(islice(stream, BATCH_LEN)):
            if borders := study.borders(batch):
                yield turn_rows(borders, constants, labels)
            meter.advance(len(batch))


@dataclass
class _Study:
    """Turns dialogues into borders: a few batch calls where the replies are known beforehand."""

    tokenizer: Tokenizer
    prompt_class: AnyPromptClass | None
    on_bad: Callable[[ChatlabError], None] | None
    stored: Store = "verbatim"
    reply_ids: Any = "canonical"
    reply_start: ReplyStart | None = None
    history: History | None = None
    trace: bool = True
    model: Any = None
    add_special_tokens: bool = False

    def __post_init__(self) -> None:
        self._base: Talks | None = None
        self._growing = GrowingPrompts(self.tokenizer)
        if isinstance(self.model, str | Path):
            from chatlab.engines.load import load_model

            self.model = load_model(self.model, progress=False)

    @property
    def written_by(self) -> str:
        """Who writes the prompts, as a word."""
        if self.prompt_class is None:
            return "chat template" if getattr(self.tokenizer.wrapped, "chat_template", None) else ""
        return writer_of(self.tokenizer, self.prompt_class, Dialogue(id="", turns=[Turn(user="")])).name

    @property
    def stored_name(self) -> str:
        """What is stored, as a word."""
        return self.stored if isinstance(self.stored, str) else getattr(self.stored, "__name__", "function")

    def talks(self, dialogue: Dialogue) -> Talks:
        """Return how a dialogue is held."""
        is_bare = dialogue.tools is None and not dialogue.variables and self.reply_ids == "canonical"
        if is_bare and self._base is not None:
            return self._base
        writer = writer_of(self.tokenizer, self.prompt_class, dialogue)
        if self._base is None:
            self._base = Talks.of(
                self.tokenizer,
                replace(writer, tools=None, variables={}),
                stored=self.stored,
                reply_start=self.reply_start,
                history=self.history,
                add_special_tokens=self.add_special_tokens,
            )
        given = self.reply_ids
        is_chosen = callable(given) and not hasattr(given, "reply_ids")
        if is_bare:
            return self._base
        return replace(self._base, writer=writer, replies=given(dialogue) if is_chosen else given)

    def borders(self, batch: Sequence[Any]) -> list[MeasuredBorder]:
        """Measure a batch of dialogues."""
        plain, found = list[_Plain](), list[tuple[int, list[MeasuredBorder]]]()
        for number, given in enumerate(batch):
            try:
                if isinstance(given, Trajectory):
                    found.append((number, list(self._in_ids(given))))
                    continue
                dialogue = dialogue_of(given)
                talks = self.talks(dialogue)
                if self._is_plain(talks, dialogue):
                    plain.append(_Plain.of(number, dialogue, talks))
                else:
                    found.append((number, list(self._one_by_one(dialogue, talks))))
            except ChatlabError as error:
                self._bad(given, error)
            except Exception as error:
                named = PromptError(f"{type(error).__name__}: {error}")
                named.__cause__ = error
                self._bad(given, named)
        found += self._together(plain)
        return [border for _, borders in sorted(found, key=lambda pair: pair[0]) for border in borders]

    def _bad(self, given: Any, error: ChatlabError) -> None:
        name = given.get("id", "") if isinstance(given, dict) else getattr(given, "id", f"{given!r:.80}")
        named = DialogueError.at(f"dialogue {name!r}", error)
        if self.on_bad is None:
            raise named from error
        self.on_bad(named)

    def _is_plain(self, talks: Talks, dialogue: Dialogue) -> bool:
        known = talks.replies == "canonical" and self.history is None and self.stored != "parsed" and self.model is None
        return known and talks.writer.chat_template is None and not dialogue.tools and dialogue.is_plain

    def _together(self, plain: Sequence[_Plain]) -> Iterator[tuple[int, list[MeasuredBorder]]]:
        """Encode all prompts, and all replies, in one call each; the law is that of :meth:`_one_by_one`."""
        texts = [text for one in plain for text in one.prompts]
        if self.add_special_tokens:
            prompts = iter(self.tokenizer.encode_batch(texts, add_special_tokens=True))
        else:
            prompts = iter(self._growing.encode_batch(texts))
        said = [text for one in plain for text in one.said]
        replies = iter(self._base.continuations.encode(said) if self._base else [])
        for one in plain:
            ids = [next(prompts) for _ in one.prompts]
            own = [next(replies) for _ in one.said]
            yield one.number, list(self._plain_borders(one, ids, own))

    def _plain_borders(
        self, one: _Plain, prompts: Sequence[list[int]], replies: Sequence[list[int]]
    ) -> Iterator[MeasuredBorder]:
        calls: list[SaidCall] | None = None
        for at, (prompt, after) in enumerate(pairwise(prompts)):
            border = Border(prompt_ids=tuple(prompt), reply_ids=tuple(replies[at]), next_ids=tuple(after))
            edits = () if self.trace else None
            if self.trace and not border.is_kept:
                calls = calls or list(one.talks.calls(one.dialogue))
                edits = _edits(case_of(one.talks, calls[at], calls[at + 1]))
            yield MeasuredBorder(one.dialogue, at + 1, border, edits)

    def _in_ids(self, given: Trajectory) -> Iterator[MeasuredBorder]:
        talks = Talks.of(self.tokenizer, writer_for(self.tokenizer, self.prompt_class, given))
        return self._bordering(given.dialogue, talks, said_calls(talks, given), given=True)

    def _one_by_one(self, dialogue: Dialogue, talks: Talks) -> Iterator[MeasuredBorder]:
        return self._bordering(dialogue, talks, list(talks.calls(dialogue)))

    def _bordering(
        self, dialogue: Dialogue, talks: Talks, calls: Sequence[SaidCall], *, given: bool = False
    ) -> Iterator[MeasuredBorder]:
        for number, (call, after) in enumerate(pairwise(calls), 1):
            case = case_of(talks, call, after, given=given)
            border = border_of(case)
            edits = () if self.trace else None
            if self.trace and not border.is_kept:
                edits = _edits(case)
            yield MeasuredBorder(dialogue, number, border, edits, self._logprobs(case, border))

    def _logprobs(self, case: Case, border: Border) -> tuple[float, float] | None:
        if self.model is None:
            return None
        from chatlab.engines.rows import reply_logprob  # torch takes a second to load

        ids = border.reply_ids
        said = ids[:-1] if ids and ids[-1] in case.end_ids else ids
        as_said = reply_logprob(self.model, border.prompt_ids, said)
        place = TurnReading(setting=TurnSetting(tokenizer=case.tokenizer, case=case)).next_reply
        if border.is_kept or place is None or not place[0]:
            return as_said, as_said if border.is_kept else float("nan")
        return as_said, reply_logprob(self.model, border.next_ids[: place[0]], border.next_ids[slice(*place)])


def border_of(case: Case) -> Border:
    """Return a border in ids: read in full only where the next prompt does not begin with all that was said."""
    call, after = case.call, case.after.prompt_ids
    said = len(call.prompt_ids) + len(call.reply_ids)
    ends = bool(call.reply_ids) and call.reply_ids[-1] in case.end_ids
    body = said - ends
    if after[:body] == (*call.prompt_ids, *call.reply_ids)[:body]:
        closes = end_len(call.reply_ids, after[body:], case.end_ids, case.tokenizer.special_ids)
        return Border(prompt_ids=call.prompt_ids, reply_ids=call.reply_ids, next_ids=after, end_len=closes)
    return TurnReading(setting=TurnSetting(tokenizer=case.tokenizer, case=case)).border


def _edits(case: Case) -> tuple[Any, ...]:
    return tuple(iter_edits(laboratory_of(case)))


@dataclass(frozen=True)
class _Plain:
    """A dialogue of texts, with its prompts and what is said to them."""

    number: int
    dialogue: Dialogue
    talks: Talks
    prompts: list[str]
    said: list[str]

    @classmethod
    def of(cls, number: int, dialogue: Dialogue, talks: Talks) -> _Plain:
        said = [talks.begun(turn.assistant) for turn in dialogue.turns if turn.assistant is not None]
        prompts = list(_prompts(dialogue, talks, [talks.kept(text) for text in said]))
        for text in (*prompts, *said):
            refuse_lone_surrogates(text)
        return cls(number, dialogue, talks, prompts, said[: len(prompts) - 1])


def _prompts(dialogue: Dialogue, talks: Talks, kept: Sequence[str]) -> Iterator[str]:
    """The prompts of a dialogue of texts, each opened and filled in one prompt: what ``prompts_of`` gives, without copies."""
    prompt = new_prompt(talks.writer.prompt_class)
    offer(prompt, None, dialogue.variables)
    if dialogue.system is not None:
        prompt.set_system_prompt(dialogue.system)
    for number, turn in enumerate(dialogue.turns):
        prompt.add_requester_msg(turn.user)
        prompt.add_responder_msg(None)
        yield prompt_text(prompt)
        if turn.assistant is not None:
            prompt.set_responder_last_msg(kept[number])
