"""Measure over many dialogues what each way of cutting the echo does to the replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from chatlab.echo.cut import (
    EFFECTS,
    STRATEGIES,
    CutCase,
    CutStrategy,
    as_decoded,
    cleans_up,
    cut_exactly,
    first_difference,
    judge,
)
from chatlab.echo.edits import Cause
from chatlab.echo.replies import Continuations, Replier, ReplyStart, begin, carries_space
from chatlab.echo.trace import trace_echo
from chatlab.errors import ChatlabError, DialogueError, EncodeError, TemplateError
from chatlab.progress.meter import Meter, length_of
from chatlab.progress.progress import Reporter
from chatlab.prompts.base import AbstractChatPrompt, custom_skip_echo_len, prompt_text
from chatlab.prompts.dialogue import Dialogue, new_prompt, prompts_of, read_dialogues
from chatlab.tokenizers.interface import Tokenizer, refuse_lone_surrogates
from chatlab.tokenizers.load import as_tokenizer

if TYPE_CHECKING:
    import pandas as pd

BATCH_LEN = 256
"""Dialogues encoded at once: enough for the batch calls to pay, few enough to stream."""

MODEL_BATCH_LEN = 16
"""The same where a model answers: that takes longer than all else, and a user waits for every sign of it."""

PromptClass = Callable[[], AbstractChatPrompt]
Replies = Literal["dataset"] | Replier | Callable[[Dialogue], Replier | None]


def measure_drift(
    dialogues: Iterable[Dialogue] | str | Path,
    prompt_class: PromptClass,
    tokenizer: Any,
    *,
    replies: Replies = "dataset",
    reply_start: ReplyStart = "word",
    strategies: Sequence[str] = tuple(STRATEGIES),
    trace: bool = False,
    on_bad: Callable[[ChatlabError], None] | None = None,
    progress: bool | Reporter = False,
) -> pd.DataFrame:
    """Return one row a (dialogue, turn, strategy): the drift, and what the cut does to the reply.

    Args:
        dialogues: the dialogues, or the path of a file that ``read_dialogues`` reads; a turn without an answer is measured only with a model.
        prompt_class: a prompt class; each turn's prompt is its text up to that turn's question.
        tokenizer: whatever :func:`trace_echo` takes.
        replies: ``"dataset"``, or a model that answers; a function of the dialogue may choose per dialogue.
        reply_start: how a reply from the data set begins, see :data:`ReplyStart`.
        strategies: names of :data:`chatlab.echo.cut.STRATEGIES`.
        trace: also explain every echo and count the causes; about an order of magnitude slower.
        on_bad: called with the error of each dialogue that cannot be measured, which is then left out.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        DialogueError: a dialogue cannot be measured, such as one that a chat template refuses, and there is no
            ``on_bad``.
        PromptError: the prompt class makes no prompt, or lacks a method that is needed.
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


def concat_frames(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the frames of ``iter_drift`` as one; labels that only some batches have are empty text in the others."""
    import pandas as pd

    parts = list(frames)
    if not parts:
        return _frame([], [], {}, None, None)
    names = list(dict.fromkeys(column for part in parts for column in part.columns))
    whole: dict[str, Any] = {}
    for name in names:
        columns = [part[name] if name in part else pd.Series([""] * len(part), dtype="category") for part in parts]
        is_text = isinstance(columns[0].dtype, pd.CategoricalDtype)
        whole[name] = pd.api.types.union_categoricals(columns) if is_text else pd.concat(columns, ignore_index=True)
    return pd.DataFrame(whole)


def iter_drift(
    dialogues: Iterable[Dialogue] | str | Path,
    prompt_class: PromptClass,
    tokenizer: Any,
    *,
    replies: Replies = "dataset",
    reply_start: ReplyStart = "word",
    strategies: Sequence[str] = tuple(STRATEGIES),
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
    experiment = _Experiment(reader, prompt_class, replies, reply_start, on_bad)
    constants = {"tokenizer": reader.name, "loader": reader.loader, "versions": versions_text(reader.versions)}
    constants["clean_up"] = "on" if cleans_up(reader) else "off"
    dialogues = _readable(dialogues, on_bad)
    stream = iter(dialogues)
    batch_len = BATCH_LEN if replies == "dataset" else MODEL_BATCH_LEN
    with Meter(progress, "measuring", "dialogues", length_of(dialogues)) as meter:
        while batch := list(islice(stream, batch_len)):
            turns = experiment.turns(batch)
            if turns:
                causes = [trace_echo(reader, turn.case.prompt_text).cause_counts() for turn in turns] if trace else None
                yield _frame(turns, chosen, constants, labels, causes)
            meter.advance(len(batch))


def _readable(
    dialogues: Iterable[Dialogue] | str | Path, on_bad: Callable[[ChatlabError], None] | None
) -> Iterable[Dialogue]:
    if isinstance(dialogues, str | Path):
        return read_dialogues(dialogues, skip_bad=on_bad is not None, on_bad=on_bad)
    if isinstance(dialogues, Mapping) or not isinstance(dialogues, Iterable):
        raise DialogueError(f"dialogues are a list of Dialogue or the path of a file, not {type(dialogues).__name__}")
    return dialogues


def chosen_strategies(names: Sequence[str]) -> list[CutStrategy]:
    """Return the strategies of these names; one name may stand alone.

    Raises:
        ChatlabError: there is none of that name.
    """
    names = [names] if isinstance(names, str) else names
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown:
        raise ChatlabError(f"no cut strategy is called {', '.join(unknown)}: choose from {', '.join(STRATEGIES)}")
    return [STRATEGIES[name] for name in names]


def versions_text(versions: Mapping[str, str]) -> str:
    """Return library versions in one line, for a table."""
    return " ".join(f"{library} {number}" for library, number in sorted(versions.items()))


@dataclass(kw_only=True, slots=True)
class _Turn:
    """One generation: the case for the strategies, and what the table says of it."""

    dialogue: Dialogue
    number: int
    case: CutCase
    reply: str
    from_model: bool
    first_piece: str


@dataclass(kw_only=True, slots=True)
class _Asked:
    """One prompt on its way through the batch calls."""

    dialogue: Dialogue
    number: int
    text: str
    plain_text: str
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
        new_prompt(prompt_class)  # a class that makes no prompt is no fault of a dialogue
        self._replier_of = _replier_of(replies)
        self._continuations = Continuations(tokenizer)

    def turns(self, dialogues: Sequence[Dialogue]) -> list[_Turn]:
        asked: list[_Asked] = []
        for dialogue in dialogues:
            if not isinstance(dialogue, Dialogue):
                raise DialogueError(f"{dialogue!r:.80} is no Dialogue: read it with Dialogue.from_dict(data)")
            try:
                asked += self._asked(dialogue)
            except (DialogueError, EncodeError, TemplateError) as error:
                named = DialogueError(f"dialogue {dialogue.id!r}: {error}")
                if self._on_bad is None:
                    raise named from error
                self._on_bad(named)
        return self._measured(asked)

    def _asked(self, dialogue: Dialogue) -> list[_Asked]:
        replier = self._replier_of(dialogue)
        asked = []
        for number, prompt in prompts_of(dialogue, self._prompt_class):
            text, reply = prompt_text(prompt), dialogue.turns[number - 1].assistant
            refuse_lone_surrogates(text)
            if replier is None and reply is None:
                continue
            refuse_lone_surrogates(reply or "")
            plain_text = self._tokenizer.without_special_strs(text)
            asked.append(
                _Asked(
                    dialogue=dialogue,
                    number=number,
                    text=text,
                    plain_text=plain_text,
                    custom_skip_len=custom_skip_echo_len(prompt, len(plain_text)),
                    reply=reply,
                    replier=replier,
                )
            )
        return asked

    def _measured(self, asked: list[_Asked]) -> list[_Turn]:
        tokenizer = self._tokenizer
        prompt_ids = tokenizer.encode_batch([a.text for a in asked])
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
            )
            turns.append(
                _Turn(
                    dialogue=one.dialogue,
                    number=one.number,
                    case=case,
                    reply=truths[number],
                    from_model=one.replier is not None,
                    first_piece=tokenizer.piece(output[0]) if output else "",
                )
            )
        return turns

    def _outputs(self, asked: list[_Asked], prompt_ids: list[list[int]]) -> list[list[int]]:
        given = [begin(a.reply or "", self._start) for a in asked if a.replier is None]
        from_dataset = iter(self._continuations.encode(given))
        return [
            next(from_dataset) if a.replier is None else a.replier.reply_ids(ids)
            for a, ids in zip(asked, prompt_ids, strict=True)
        ]


def _replier_of(replies: Replies) -> Callable[[Dialogue], Replier | None]:
    if replies == "dataset":
        return lambda dialogue: None
    if hasattr(replies, "reply_ids"):
        return lambda dialogue: replies
    if callable(replies):
        return replies
    raise ChatlabError(f'replies are "dataset" or a model with reply_ids(prompt_ids), not {replies!r}')


def _frame(
    turns: list[_Turn],
    strategies: list[CutStrategy],
    constants: Mapping[str, str],
    labels: Sequence[str] | None,
    causes: list[dict[Cause, int]] | None,
) -> pd.DataFrame:
    """Lay turns × strategies out as columns; repeated text is categorical, so that millions of rows fit."""
    import numpy as np
    import pandas as pd

    width = len(strategies)
    drift, effect_codes, effect_len, first_wrong = _cells(turns, strategies)
    plans_none = np.tile([strategy.skip_echo_len is None for strategy in strategies], len(turns)).astype(bool)
    columns: dict[str, Any] = {
        "dialogue": _repeated([t.dialogue.id for t in turns], width),
        "turn": np.repeat(np.array([t.number for t in turns], dtype=int), width),
        "strategy": _categorical(np.tile(np.arange(width), len(turns)), [s.name for s in strategies]),
        "wrong": effect_codes != EFFECTS.index("exact"),
        "drift": pd.arrays.IntegerArray(drift.astype("int32"), plans_none),
        "effect": _categorical(effect_codes, EFFECTS),
        "effect_len": effect_len,
        "first_wrong_offset": first_wrong,
    }
    for label in sorted({label for t in turns for label in t.dialogue.labels}) if labels is None else labels:
        columns[f"label_{label}"] = _repeated([str(t.dialogue.labels.get(label, "")) for t in turns], width)
    numbers: dict[str, list[int]] = {
        "echo_drift": [len(t.case.echo) - len(t.case.plain_text) for t in turns],
        "first_echo_offset": [first_difference(t.case.echo, t.case.plain_text) for t in turns],
        "prompt_len": [len(t.case.prompt_text) for t in turns],
        "echo_len": [len(t.case.echo) for t in turns],
        "reply_len": [len(t.reply) for t in turns],
    }
    for cause in Cause if causes is not None else ():
        numbers[f"cause_{cause.name.lower()}"] = [counts.get(cause, 0) for counts in causes or []]
    columns |= {name: np.repeat(np.array(values, dtype=int), width) for name, values in numbers.items()}
    columns["first_piece"] = _repeated([t.first_piece for t in turns], width)
    columns["first_piece_space"] = np.repeat(np.array([carries_space(t.first_piece) for t in turns], dtype=bool), width)
    columns["first_char_blank"] = np.repeat(np.array([t.reply[:1].isspace() for t in turns], dtype=bool), width)
    columns["reply_source"] = _repeated(["model" if t.from_model else "dataset" for t in turns], width)
    columns |= {name: _repeated([value], len(effect_codes)) for name, value in constants.items()}
    return pd.DataFrame(columns)


def _repeated(texts: list[str], times: int) -> pd.Categorical[Any]:
    """Return each text ``times`` times in a row, as codes."""
    import numpy as np

    names = {name: code for code, name in enumerate(dict.fromkeys(texts))}
    return _categorical(np.repeat(np.array([names[text] for text in texts], dtype=int), times), tuple(names))


def _categorical(codes: Any, names: Sequence[str]) -> pd.Categorical[Any]:
    """Return a categorical column from codes, without looking at every text."""
    import pandas as pd

    return pd.Categorical.from_codes(codes, pd.Index(list(names)))


def _cells(turns: list[_Turn], strategies: list[CutStrategy]) -> Any:
    """Return drift (0 where the strategy plans no length), effect, effect_len, first_wrong_offset: four flat arrays."""
    import numpy as np

    cases, replies = [turn.case for turn in turns], [turn.reply for turn in turns]
    stripped, codes = [reply.strip() for reply in replies], {name: code for code, name in enumerate(EFFECTS)}
    cells = np.zeros((4, len(turns), len(strategies)), dtype=int)
    for number, strategy in enumerate(strategies):
        outcomes = map(judge, map(strategy.cut, cases), stripped if strategy.strips else replies)
        flat: list[Any] = list(chain.from_iterable(outcomes))  # many small tuples alive would wake the collector
        skip = strategy.skip_echo_len
        drift = [len(case.echo) - skip(case) for case in cases] if skip else 0
        cells[0, :, number] = drift
        cells[1:, :, number] = [[codes[name] for name in flat[::3]], flat[1::3], flat[2::3]]
    return cells.reshape(4, -1)
