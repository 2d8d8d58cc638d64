"""The rows of the turn experiment: one a border."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatlab.prompts.dialogue import Dialogue
from chatlab.turns.border import Border
from chatlab.turns.edits import Edit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class MeasuredBorder:
    """One border in ids, with the differences that were looked for."""

    dialogue: Dialogue
    number: int
    border: Border
    edits: tuple[Edit, ...] | None
    """None where nobody looked."""
    logprobs: tuple[float, float] | None = None
    """The log probability of the reply as it was said, and as the next prompt has it."""


INTEGERS = ("turn", "kept_len", "lost_len", "prompt_len", "reply_len", "next_len", "reread_len", "wasted_len")


def turn_rows(
    borders: Sequence[MeasuredBorder], constants: Mapping[str, str], labels: Sequence[str] | None = None
) -> pd.DataFrame:
    """Lay borders out as columns; repeated text is categorical, so that millions of rows fit.

    Args:
        borders: what was measured, all of a dialogue's together.
        constants: columns with one value.
        labels: which labels of the dialogues become columns; left out, those that there are.
    """
    import numpy as np
    import pandas as pd

    found = [b.border for b in borders]
    numbers: dict[str, list[int]] = {
        "turn": [b.number for b in borders],
        "kept_len": [b.kept_len for b in found],
        "lost_len": [b.lost_len for b in found],
        "prompt_len": [len(b.prompt_ids) for b in found],
        "reply_len": [len(b.reply_ids) for b in found],
        "next_len": [len(b.next_ids) for b in found],
        "reread_len": [b.reread_len for b in found],
        "wasted_len": [b.wasted_len for b in found],
    }
    first = [next(iter(b.edits), None) if b.edits else None for b in borders]
    columns: dict[str, Any] = {"dialogue": _text([b.dialogue.id for b in borders])}
    columns |= {name: np.array(numbers[name], dtype=int) for name in INTEGERS[:3]}
    columns["kept"] = np.array([b.is_kept for b in found], dtype=bool)
    columns["layer"] = _text([edit.layer if edit else "" for edit in first])
    columns["cause"] = _text([_cause(b, edit) for b, edit in zip(borders, first, strict=True)])
    columns["same_text"] = pd.array([edit.same_text if edit else None for edit in first], dtype="boolean")
    columns["design"] = _text([edit.design if edit else "" for edit in first])
    columns |= {name: np.array(numbers[name], dtype=int) for name in INTEGERS[3:]}
    columns["cache_lost_share"] = _shares(borders)
    if any(b.logprobs for b in borders):
        said, after = zip(*(b.logprobs or (float("nan"),) * 2 for b in borders), strict=True)
        columns |= {"logprob_said": np.array(said), "logprob_next": np.array(after)}
        columns["logprob_change"] = columns["logprob_next"] - columns["logprob_said"]
    for label in sorted({label for b in borders for label in b.dialogue.labels}) if labels is None else labels:
        columns[f"label_{label}"] = _text([str(b.dialogue.labels.get(label, "")) for b in borders])
    columns |= {name: _text([value] * len(borders)) for name, value in constants.items()}
    return pd.DataFrame(columns)


def concat_turns(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the frames of ``iter_turns`` as one; labels that only some batches have are empty text in the others."""
    import pandas as pd

    parts = list(frames)
    if not parts:
        return turn_rows([], {})
    names = list(dict.fromkeys(column for part in parts for column in part.columns))
    whole: dict[str, Any] = {}
    for name in names:
        columns = [part[name] if name in part else _text([""] * len(part)) for part in parts]
        is_text = isinstance(parts[0].get(name, columns[0]).dtype, pd.CategoricalDtype)
        whole[name] = pd.api.types.union_categoricals(columns) if is_text else pd.concat(columns, ignore_index=True)
    return pd.DataFrame(whole)


def _cause(border: MeasuredBorder, first: Edit | None) -> str:
    if first is None or border.border.is_kept:
        return ""
    return " + ".join([first.cause, *first.also])


def _shares(borders: Sequence[MeasuredBorder]) -> Any:
    """For each border, the share of all ids that its conversation's server held and could not use."""
    import numpy as np

    held, wasted = dict[int, int](), dict[int, int]()
    for b in borders:
        key = id(b.dialogue)
        held[key] = held.get(key, 0) + b.border.state_len
        wasted[key] = wasted.get(key, 0) + b.border.wasted_len
    return np.array([wasted[id(b.dialogue)] / max(1, held[id(b.dialogue)]) for b in borders], dtype=float)


def _text(texts: Sequence[str]) -> Any:
    import numpy as np
    import pandas as pd

    names = {name: code for code, name in enumerate(dict.fromkeys(texts))}
    codes = np.array([names[text] for text in texts], dtype=int)
    return pd.Categorical.from_codes(codes, pd.Index(list(names), dtype=object))
