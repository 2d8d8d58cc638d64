"""The work itself, as functions of a module: any process that can import chatlab can be given a task."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from chatlab.echo.cut import STRATEGIES
from chatlab.echo.replies import ReplyStart
from chatlab.errors import ChatlabError, SweepError
from chatlab.render import readable
from chatlab.snapshots.recorder import canonical
from chatlab.sweeps.keys import Planned, versions
from chatlab.sweeps.task import chosen
from chatlab.tokenizers.interface import is_panic
from chatlab.turns.talk import StoredWay

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a task."""

    state: Literal["done", "failed"]
    rows: pa.Table | None = None
    """What the study told; ``None`` where that is no row."""
    left_out: int = 0
    """Dialogues that could not be measured, where the task says to go on without them."""
    error: str = ""
    """The name of the error's type."""
    message: str = ""

    @classmethod
    def fault(cls, error: BaseException) -> Answer:
        """That a task failed, and why."""
        told = readable(str(error)).encode("utf-8", "backslashreplace").decode()
        return cls(state="failed", error=type(error).__name__, message=told)


def compute(kind: str, inputs: Mapping[str, Any], expected: Mapping[str, Any]) -> Answer:
    """Return the rows of a task, or why there are none: no fault of a task gets out.

    Args:
        kind: of the task.
        inputs: with paths and commits of this machine.
        expected: the versions that the key tells of.
    """
    try:
        _same_versions(expected)
        frame, left_out = WORK[kind](inputs)
        return Answer(state="done", rows=_table(frame), left_out=left_out)
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            return Answer.fault(error)
        raise


def compute_elsewhere(kind: str, inputs: Mapping[str, Any], expected: Mapping[str, Any]) -> Answer:
    """The same in a process that has neighbours: the threads of ``tokenizers`` would fight theirs for the cores."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return compute(kind, inputs, expected)


def alone(planned: Planned, expected: Mapping[str, Any]) -> Answer:
    """Do one task here."""
    return compute(planned.kind, planned.pinned, expected)


def _same_versions(expected: Mapping[str, Any]) -> None:
    own = versions()
    other = [
        f"{name} {own.get(name)} instead of {number}" for name, number in expected.items() if own.get(name) != number
    ]
    if other:
        raise SweepError(f"this worker has {', '.join(other)}: give all workers one environment")


def _drift(inputs: Mapping[str, Any]) -> tuple[pd.DataFrame, int]:
    from chatlab.echo.experiment import measure_drift

    start = inputs.get("reply_start", "word")
    chosen("reply_start", start, ReplyStart)
    bad = list[ChatlabError]()
    frame = measure_drift(
        inputs["dialogues"],
        _prompt_class(inputs),
        _tokenizer_of(inputs),
        strategies=tuple(inputs.get("strategies", STRATEGIES)),
        reply_start=start,
        on_bad=bad.append if inputs.get("skip_bad") else None,
    )
    return frame, len(bad)


def _turns(inputs: Mapping[str, Any]) -> tuple[pd.DataFrame, int]:
    from chatlab.turns.measure import measure_turns

    stored = inputs.get("stored", "verbatim")
    chosen("stored", stored, StoredWay)
    bad = list[ChatlabError]()
    frame = measure_turns(
        inputs["dialogues"],
        None if inputs.get("prompt", "template") == "template" else _prompt_class(inputs),
        _tokenizer_of(inputs),
        stored=stored,
        reply_start=inputs.get("reply_start"),
        on_bad=bad.append if inputs.get("skip_bad") else None,
    )
    return frame, len(bad)


def _audit(inputs: Mapping[str, Any]) -> tuple[pd.DataFrame, int]:
    from chatlab.turns.audit.audit import audit_template
    from chatlab.turns.audit.reading import template_file

    given = inputs.get("template")
    audit = audit_template(inputs["tokenizer"], chat_template=None if given is None else template_file(Path(given)))
    return audit.to_frame().astype(object).assign(template=audit.name), 0


def _snapshot(inputs: Mapping[str, Any]) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    from chatlab.snapshots.snapshot import snapshot

    taken = snapshot(inputs["tokenizer"])
    row = {"name": taken.label, "revision": taken.revision or "", "sha256": taken.sha256}
    return pd.DataFrame([{**row, "loaders": ", ".join(taken.loaders), "snapshot": canonical(taken.to_dict())}]), 0


def _compare(inputs: Mapping[str, Any]) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    from chatlab.revisions.compare import compare_revisions

    found = compare_revisions(inputs["before"], inputs["after"], loader=inputs.get("loader"))
    row = {"before": found.before.name, "after": found.after.name, "loader": found.loader}
    told = {"severity": found.severity.name, "verdict": found.verdict, "comparison": canonical(found.to_dict())}
    return pd.DataFrame([{**row, **told}]), 0


WORK: Mapping[str, Callable[[Mapping[str, Any]], tuple[pd.DataFrame, int]]] = {
    "drift": _drift,
    "turns": _turns,
    "audit": _audit,
    "snapshot": _snapshot,
    "compare": _compare,
}


def _tokenizer_of(inputs: Mapping[str, Any]) -> Any:
    return _loaded(inputs["tokenizer"], bool(inputs.get("untrusted")))


@lru_cache(maxsize=4)
def _loaded(source: str, untrusted: bool) -> Any:
    from chatlab.tokenizers.load import load_tokenizer

    return load_tokenizer(source, untrusted=untrusted)


def _prompt_class(inputs: Mapping[str, Any]) -> Any:
    """Return a format's name, or what makes prompts of a template; a stranger's renders within limits."""
    from chatlab.prompts.templates.chat_template import ChatTemplatePrompt

    name = inputs["prompt"]
    if name != "template" and not name.endswith(".jinja"):
        return name
    from chatlab.turns.audit.reading import template_file

    given = None if name == "template" else template_file(Path(name))
    return partial(
        ChatTemplatePrompt, _tokenizer_of(inputs), chat_template=given, untrusted=bool(inputs.get("untrusted"))
    )


def _table(frame: pd.DataFrame) -> pa.Table | None:
    """Return rows as Arrow, without what pandas alone knows; texts are plain, whatever pandas held them as."""
    if not len(frame):
        return None
    texts = [name for name in frame.columns if frame[name].dtype.name in ("category", "str", "object", "string")]
    plain = frame.astype({name: str for name in texts})
    made = pa.Table.from_pandas(plain, preserve_index=False).replace_schema_metadata(None)
    small = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in made.schema]
    return made.cast(pa.schema(small))
