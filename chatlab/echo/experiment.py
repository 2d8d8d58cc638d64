"""Measure over many dialogues what each way of cutting the echo does to the replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from chatlab.echo.cut import STRATEGIES, ChosenStrategies, CutCase, chosen_strategies
from chatlab.echo.cutting.case import as_decoded, cleans_up, cut_exactly, marker_of, question_of
from chatlab.echo.drift_table import MeasuredTurn, drift_rows
from chatlab.echo.drift_table import concat_frames as concat_frames
from chatlab.echo.growing import GrowingPrompts
from chatlab.echo.replies import Continuations, Replier, ReplyStart, begin
from chatlab.echo.trace import trace_echo
from chatlab.errors import (
    ChatlabError,
    DialogueError,
    EncodeError,
    GenerationError,
    PromptError,
    RoleOrderError,
    TemplateError,
)
from chatlab.progress.meter import Meter, length_of
from chatlab.progress.progress import Reporter
from chatlab.prompts.base import custom_skip_echo_len, prompt_text
from chatlab.prompts.dialogue import Dialogue, is_table, new_prompt, prompts_of, read_dialogues
from chatlab.prompts.filling import AnyPromptClass, PromptClass, prompt_class_of
from chatlab.tokenizers.interface import Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.load import as_tokenizer

if TYPE_CHECKING:
    import pandas as pd

BATCH_LEN = 256
"""Dialogues encoded at once: enough for the batch calls to pay, few enough to stream."""

MODEL_BATCH_LEN = 16
"""The same where a model answers: that takes longer than all else, and a user waits for every sign of it."""

AnyDialogues = Iterable[Dialogue | Mapping[str, Any]] | Dialogue | str | Path
"""Dialogues or their plain data, one of them, or the path of a file that ``read_dialogues`` reads."""
Replies = Literal["dataset"] | Replier | Callable[[Dialogue], Replier | None]


def measure_drift(
    dialogues: AnyDialogues,
    prompt_class: AnyPromptClass,
    tokenizer: Any,
    *,
    replies: Replies = "dataset",
    reply_start: ReplyStart = "word",
    strategies: ChosenStrategies = tuple(STRATEGIES),
    trace: bool = False,
    on_bad: Callable[[ChatlabError], None] | None = None,
    progress: bool | Reporter = False,
) -> pd.DataFrame:
    """Return one row a (dialogue, turn, strategy): the drift, and what the cut does to the reply.

    Args:
        dialogues: the dialogues, in any shape and from any place that ``read_dialogues`` reads; a turn without an
            answer is measured only with a model. Each call of the model is a turn, so that a tool loop is several; of
            a reply that also thinks or calls tools its text is what is measured, empty where it has none.
        prompt_class: a prompt class, or the name of a format such as ``"llama2"``; each turn's prompt is its text up to
            where that reply begins.
        tokenizer: whatever :func:`trace_echo` takes.
        replies: ``"dataset"``, or a model that answers; a function of the dialogue may choose per dialogue.
        reply_start: how a reply from the data set begins, see :data:`ReplyStart`.
        strategies: names of :data:`chatlab.echo.cut.STRATEGIES`, or your own: functions of a
            :class:`chatlab.echo.cut.CutCase` that return the reply, or :class:`chatlab.echo.cut.CutStrategy` objects.
        trace: also explain every echo and count the causes; about an order of magnitude slower.
        on_bad: called with the error of each dialogue that cannot be measured, which is then left out.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Where a strategy is not applicable, such as a search for a marker that the prompt does not have, ``wrong`` and
    ``drift`` are missing and the effect is ``not_applicable``. ``clean_up`` says whether the texts are as ``decode``
    cleans them up: the true reply and every cut are measured on the same side.

    Raises:
        CutError: a strategy is unknown, or one of your own fails or gives no text.
        DialogueError: a dialogue cannot be measured, such as one that a chat template refuses, and there is no
            ``on_bad``.
        GenerationError: the model gives no ids.
        PromptError: the prompt class makes no prompt, lacks a method that is needed, or fails.
    """
    frames = iter_drift(
        dialogues,
        prompt_class,
        tokenizer,
        replies=replies,
        reply_start=reply_start,
        strategies=strategies,
        trace=trace,
        on_bad=on_bad,
        progress=progress,
    )
    return concat_frames(frames)


def iter_drift(
    dialogues: AnyDialogues,
    prompt_class: AnyPromptClass,
    tokenizer: Any,
    *,
    replies: Replies = "dataset",
    reply_start: ReplyStart = "word",
    strategies: ChosenStrategies = tuple(STRATEGIES),
    trace: bool = False,
    labels: Sequence[str] | None = None,
    on_bad: Callable[[ChatlabError], None] | None = None,
    progress: bool | Reporter = False,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of :func:`measure_drift` batch by batch, in constant memory.

    Args:
        dialogues: as there, and so are the other arguments not named here.
        prompt_class: as there.
        tokenizer: as there.
        replies: as there.
        reply_start: as there.
        strategies: as there.
        trace: as there.
        labels: which labels become columns; left out, those that a batch has.
        on_bad: as there.
        progress: as there.
    """
    if reply_start not in get_args(ReplyStart):
        raise ChatlabError(f"reply_start must be one of {', '.join(get_args(ReplyStart))}, not {reply_start!r}")
    reader = as_tokenizer(tokenizer)
    chosen = chosen_strategies(strategies)
    experiment = _Experiment(reader, prompt_class_of(prompt_class), replies, reply_start, on_bad)
    constants = {"tokenizer": reader.name, "loader": reader.loader, "versions": versions_text(reader.versions)}
    constants["clean_up"] = "on" if cleans_up(reader) else "off"
    dialogues = readable(dialogues, on_bad)
    stream = iter(dialogues)
    batch_len = BATCH_LEN if replies == "dataset" else MODEL_BATCH_LEN
    with Meter(progress, "measuring", "dialogues", length_of(dialogues)) as meter:
        while batch := list(islice(stream, batch_len)):
            turns = experiment.turns(batch)
            if turns:
                causes = [trace_echo(reader, turn.case.prompt_text).cause_counts() for turn in turns] if trace else None
                yield drift_rows(turns, chosen, constants, labels, causes)
            meter.advance(len(batch))


def readable(dialogues: Any, on_bad: Callable[[ChatlabError], None] | None) -> Iterable[Any]:
    """Return dialogues to go through one by one, from whatever holds them.

    Raises:
        DialogueError: these are none.
    """
    splits = isinstance(dialogues, Mapping) and any(map(is_table, dialogues.values()))
    if splits or is_table(dialogues) or isinstance(dialogues, str | Path):
        return read_dialogues(dialogues, skip_bad=on_bad is not None, on_bad=on_bad)
    if isinstance(dialogues, Dialogue | Mapping):
        return [dialogues]
    if not isinstance(dialogues, Iterable):
        raise DialogueError(f"dialogues are a list of Dialogue or the path of a file, not {type(dialogues).__name__}")
    return dialogues


def versions_text(versions: Mapping[str, str]) -> str:
    """Return library versions in one line, for a table."""
    return " ".join(f"{library} {number}" for library, number in sorted(versions.items()))


@dataclass(kw_only=True, slots=True)
class _Asked:
    """One prompt on its way through the batch calls."""

    dialogue: Dialogue
    number: int
    text: str
    plain_text: str
    tail: str  # what stands behind the last control token
    question: str
    custom_skip_len: int  # kept instead of the prompt, whose messages would live on and wake the collector
    reply: str | None
    replier: Replier | None


class _Experiment:
    """Turns dialogues into cases: a few batch calls, whatever the number of strategies."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_class: PromptClass,
        replies: Replies,
        reply_start: ReplyStart,
        on_bad: Callable[[ChatlabError], None] | None,
    ) -> None:
        self._tokenizer, self._prompt_class, self._start, self._on_bad = tokenizer, prompt_class, reply_start, on_bad
        self._name = getattr(prompt_class, "__name__", type(prompt_class).__name__)
        self._first_prompt()  # a class that makes no prompt is no fault of a dialogue
        self._replier_of = _replier_of(replies)
        self._continuations = Continuations(tokenizer)
        self._prompts_of_dialogues = GrowingPrompts(tokenizer)

    def turns(self, dialogues: Sequence[Any]) -> list[MeasuredTurn]:
        asked: list[_Asked] = []
        for dialogue in dialogues:
            try:
                asked += self._asked(_dialogue(dialogue))
            except (DialogueError, EncodeError, RoleOrderError, TemplateError) as error:
                name = getattr(dialogue, "id", None) or _id_of(dialogue)
                named = DialogueError.at(f"dialogue {name!r}", error)
                if self._on_bad is None:
                    raise named from error
                self._on_bad(named)
        return self._measured(asked)

    def _first_prompt(self) -> None:
        try:
            new_prompt(self._prompt_class)
        except ChatlabError:
            raise
        except Exception as error:
            raise PromptError(
                f"{self._name}() failed: {type(error).__name__}: {error}. A prompt class is called without arguments: "
                "give lambda: MyPrompt(…) where it needs some"
            ) from error

    def _asked(self, dialogue: Dialogue) -> list[_Asked]:
        replier = self._replier_of(dialogue)
        try:
            return list(self._prompts(dialogue, replier))
        except ChatlabError:
            raise
        except Exception as error:
            raise PromptError(
                f"{self._name} failed on dialogue {dialogue.id!r}: {type(error).__name__}: {error}"
            ) from error

    def _prompts(self, dialogue: Dialogue, replier: Replier | None) -> Iterator[_Asked]:
        split = self._tokenizer.special_pattern.split
        for (number, prompt), call in zip(prompts_of(dialogue, self._prompt_class), dialogue.calls, strict=True):
            text, reply = prompt_text(prompt), call.reply_text
            refuse_lone_surrogates(text)
            if replier is None and reply is None:
                continue
            refuse_lone_surrogates(reply or "")
            parts = split(text)
            plain_text = "".join(parts)
            yield _Asked(
                dialogue=dialogue,
                number=number,
                text=text,
                plain_text=plain_text,
                tail=parts[-1],
                question=question_of(prompt),
                custom_skip_len=custom_skip_echo_len(prompt, len(plain_text)),
                reply=reply,
                replier=replier,
            )

    def _measured(self, asked: list[_Asked]) -> list[MeasuredTurn]:
        tokenizer = self._tokenizer
        prompt_ids = self._prompts_of_dialogues.encode_batch([a.text for a in asked])
        outputs = self._outputs(asked, prompt_ids)
        alone = tokenizer.decode_batch(outputs)  # a model's ids are looked at here, once
        echoes = tokenizer.decode_own_batch(prompt_ids)
        texts = tokenizer.decode_own_batch([p + o for p, o in zip(prompt_ids, outputs, strict=True)])
        truths = self._continuations.decode(outputs)
        turns = []
        for number, one in enumerate(asked):
            output = outputs[number]
            case = CutCase(
                prompt_text=one.text,
                plain_text=one.plain_text,
                custom_skip_len=one.custom_skip_len,
                echo=echoes[number],
                text=texts[number],
                output_text=alone[number],
                exact_text=as_decoded(tokenizer, cut_exactly(tokenizer, prompt_ids[number], output)),
                question=one.question,
                marker=marker_of(one.tail, one.question, echoes[number]),
                first_piece=tokenizer.piece(output[0]) if output else "",
            )
            turns.append(MeasuredTurn(one.dialogue, one.number, case, truths[number], one.replier is not None))
        return turns

    def _outputs(self, asked: list[_Asked], prompt_ids: list[list[int]]) -> list[list[int]]:
        given = [begin(a.reply or "", self._start) for a in asked if a.replier is None]
        from_dataset = iter(self._continuations.encode(given))
        return [
            next(from_dataset) if a.replier is None else _answer(a.replier, ids)
            for a, ids in zip(asked, prompt_ids, strict=True)
        ]


def _dialogue(given: Any) -> Dialogue:
    if isinstance(given, Dialogue):
        return given
    if isinstance(given, Mapping):
        return Dialogue.from_dict(given)
    raise DialogueError(f"{given!r:.80} is no Dialogue: read it with Dialogue.from_dict(data)")


def _id_of(given: Any) -> str:
    return str(given.get("id", "")) if isinstance(given, Mapping) else f"{given!r:.80}"


def _answer(replier: Replier, prompt_ids: list[int]) -> list[int]:
    """Return the ids of a model's answer, as plain integers."""
    name = f"{type(replier).__name__}.reply_ids"
    try:
        found: Any = replier.reply_ids(prompt_ids)
        return [index(token_id) for token_id in found]
    except ChatlabError:
        raise
    except TypeError as error:
        raise GenerationError(f"{name} gives no list of token ids: {error}") from error
    except Exception as error:
        raise GenerationError(f"{name} failed: {type(error).__name__}: {error}") from error


def _replier_of(replies: Any) -> Callable[[Dialogue], Replier | None]:
    if isinstance(replies, str) and replies == "dataset":
        return lambda dialogue: None
    if hasattr(replies, "reply_ids") and not isinstance(replies, type):
        return lambda dialogue: replies
    if callable(replies) and not isinstance(replies, type):
        return lambda dialogue: _chosen_replier(replies, dialogue)
    raise ChatlabError(f'replies are "dataset" or a model with reply_ids(prompt_ids), not {replies!r:.80}')


def _chosen_replier(choose: Callable[[Dialogue], Any], dialogue: Dialogue) -> Replier | None:
    try:
        replier = choose(dialogue)
    except ChatlabError:
        raise
    except Exception as error:
        raise GenerationError(f"replies failed on dialogue {dialogue.id!r}: {type(error).__name__}: {error}") from error
    if replier is not None and not hasattr(replier, "reply_ids"):
        raise GenerationError(f"replies gives a model with reply_ids(prompt_ids) or None, not {replier!r:.80}")
    found: Replier | None = replier
    return found
