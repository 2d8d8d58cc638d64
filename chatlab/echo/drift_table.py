"""The rows of the drift experiment: turns × strategies as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from chatlab.echo.cut import EFFECTS, CutCase, CutStrategy
from chatlab.echo.cutting.outcome import first_difference
from chatlab.echo.cutting.strategy import WAYS
from chatlab.echo.edits import Cause
from chatlab.echo.replies import carries_space
from chatlab.prompts.dialogue import Dialogue

if TYPE_CHECKING:
    import pandas as pd


@dataclass(slots=True)
class MeasuredTurn:
    """One turn, decoded, with the reply that is true."""

    dialogue: Dialogue
    number: int
    case: CutCase
    reply: str
    from_model: bool


def drift_rows(
    turns: Sequence[MeasuredTurn],
    strategies: Sequence[CutStrategy],
    constants: Mapping[str, str],
    labels: Sequence[str] | None = None,
    causes: Sequence[Mapping[Cause, int]] | None = None,
) -> pd.DataFrame:
    """Lay turns × strategies out as columns; repeated text is categorical, so that millions of rows fit.

    Args:
        turns: what was measured.
        strategies: how each reply is cut.
        constants: columns with one value.
        labels: which labels of the dialogues become columns; left out, those that there are.
        causes: of each turn, where its prompt was traced.
    """
    import numpy as np
    import pandas as pd

    width = len(strategies)
    drift, effect_codes, effect_len, first_wrong = _cells(turns, strategies)
    tiled = np.tile(np.arange(width), len(turns))
    no_plan = np.array([strategy.skip_echo_len is None for strategy in strategies], dtype=bool)[tiled]
    no_use = effect_codes == EFFECTS.index("not_applicable")
    columns: dict[str, Any] = {
        "dialogue": _repeated([t.dialogue.id for t in turns], width),
        "turn": np.repeat(np.array([t.number for t in turns], dtype=int), width),
        "strategy": _categorical(tiled, [s.name for s in strategies]),
        "way": _categorical(np.array([WAYS.index(s.way) for s in strategies], dtype=int)[tiled], WAYS),
        "wrong": pd.arrays.BooleanArray(effect_codes != EFFECTS.index("exact"), no_use),
        "drift": pd.arrays.IntegerArray(drift.astype("int32"), no_plan | no_use),
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
    pieces = [t.case.first_piece for t in turns]
    columns["first_piece"] = _repeated(pieces, width)
    columns["first_piece_space"] = np.repeat(np.array([carries_space(piece) for piece in pieces], dtype=bool), width)
    columns["first_char_blank"] = np.repeat(np.array([t.reply[:1].isspace() for t in turns], dtype=bool), width)
    columns["reply_source"] = _repeated(["model" if t.from_model else "dataset" for t in turns], width)
    columns |= {name: _repeated([value], len(effect_codes)) for name, value in constants.items()}
    return pd.DataFrame(columns)


def concat_frames(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the frames of ``iter_drift`` as one; labels that only some batches have are empty text in the others."""
    import pandas as pd

    parts = list(frames)
    if not parts:
        return drift_rows([], [], {})
    names = list(dict.fromkeys(column for part in parts for column in part.columns))
    whole: dict[str, Any] = {}
    for name in names:
        columns = [part[name] if name in part else pd.Series([""] * len(part), dtype="category") for part in parts]
        is_text = isinstance(columns[0].dtype, pd.CategoricalDtype)
        whole[name] = pd.api.types.union_categoricals(columns) if is_text else pd.concat(columns, ignore_index=True)
    return pd.DataFrame(whole)


def _cells(turns: Sequence[MeasuredTurn], strategies: Sequence[CutStrategy]) -> Any:
    """Return drift (0 where the strategy plans no length), effect, effect_len, first_wrong_offset: four flat arrays."""
    import numpy as np

    cases, replies = [turn.case for turn in turns], [turn.reply for turn in turns]
    stripped, codes = [reply.strip() for reply in replies], {name: code for code, name in enumerate(EFFECTS)}
    cells = np.zeros((4, len(turns), len(strategies)), dtype=int)
    for number, strategy in enumerate(strategies):
        outcomes = strategy.outcomes(cases, stripped if strategy.strips else replies)
        flat: list[Any] = list(chain.from_iterable(outcomes))  # many small tuples alive would wake the collector
        if strategy.skip_echo_len is not None:
            cells[0, :, number] = [len(case.echo) - (strategy.skip_len(case) or 0) for case in cases]
        cells[1:, :, number] = [[codes[name] for name in flat[::3]], flat[1::3], flat[2::3]]
    return cells.reshape(4, -1)


def _repeated(texts: Sequence[str], times: int) -> pd.Categorical[Any]:
    """Return each text ``times`` times in a row, as codes."""
    import numpy as np

    names = {name: code for code, name in enumerate(dict.fromkeys(texts))}
    return _categorical(np.repeat(np.array([names[text] for text in texts], dtype=int), times), tuple(names))


def _categorical(codes: Any, names: Sequence[str]) -> pd.Categorical[Any]:
    """Return a categorical column from codes, without looking at every text."""
    import pandas as pd

    return pd.Categorical.from_codes(codes, pd.Index(list(names)))
