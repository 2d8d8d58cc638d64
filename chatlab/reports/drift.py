"""The drift experiment as files: Parquet and CSV rows, figures, and one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from csv import QUOTE_NONNUMERIC
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.parquet as pq

from chatlab import render
from chatlab.echo.summary import DriftTally, share_text
from chatlab.echo.trace import EchoTrace
from chatlab.files import prepare_folder, whole_file, write_whole
from chatlab.plots import plot_causes, plot_drift_by_turn, plot_wrong_replies

if TYPE_CHECKING:
    import pandas as pd


class DriftRows:
    """``drift.parquet`` and ``drift.csv`` (or of another name), written batch by batch; what was written is kept when the work is cut short.

    The CSV is made from the Parquet file at the end, so the two hold the same rows wherever an interrupt falls. In it
    a text that a spreadsheet would compute has an apostrophe in front; ``chatlab.render.csv_value`` reads it back.
    """

    def __init__(self, folder: str | Path, name: str = "drift") -> None:
        """Name the folder and the files; these are opened with the first batch."""
        self._name = name
        self._folder = prepare_folder(Path(folder))
        self._writer: pq.ParquetWriter | None = None
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):  # what could not be written is no file
            self._files.__exit__(kind, error, where)
            return
        # An interrupt keeps the rows so far, so the files close as if all had gone well.
        with self._files:
            if self._writer is not None:
                self._writer.close()
                with whole_file(self._folder / f"{self._name}.csv") as csv, pq.ParquetFile(self._parquet) as rows:
                    _append(rows.schema_arrow.empty_table().to_pandas(), csv, header=True)
                    for batch in rows.iter_batches():
                        _append(batch.to_pandas(), csv)

    def add(self, frame: pd.DataFrame) -> None:
        """Append one frame; columns it lacks are empty text, and every frame has the first one's columns."""
        plain = frame.astype({name: str for name in frame.select_dtypes("category").columns})
        if self._writer is None:
            self._parquet = self._files.enter_context(whole_file(self._folder / f"{self._name}.parquet"))
            schema = pa.Schema.from_pandas(plain, preserve_index=False)
            self._writer = pq.ParquetWriter(self._parquet, schema)
        plain = plain.reindex(columns=self._writer.schema.names, fill_value="")
        self._writer.write_table(pa.Table.from_pandas(plain, schema=self._writer.schema, preserve_index=False))


def _append(frame: pd.DataFrame, path: Path, *, header: bool = False) -> None:
    """Append rows to a CSV whose texts, names of columns among them, are no formulas; numbers stay numbers."""
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    plain = frame.assign(**{name: frame[name].map(render.csv_cell, na_action="ignore") for name in texts})
    # Quoted throughout: a bare carriage return would begin a row, and what follows it a cell of its own.
    safe = plain.rename(columns=render.csv_cell)
    safe.to_csv(path, mode="a", header=header, index=False, quoting=QUOTE_NONNUMERIC)


def write_drift_report(folder: str | Path, tally: DriftTally, traces: Sequence[EchoTrace], title: str) -> list[Path]:
    """Write the figures, ``traces.json`` and ``report.html``; return their paths."""
    folder = Path(folder)
    figures = {
        "drift_by_turn.png": plot_drift_by_turn(tally.by_turn()),
        "wrong_replies.png": plot_wrong_replies(tally.by_first_piece()),
        "causes.png": plot_causes(tally.causes()),
    }
    images = {name: figure.png() for name, figure in figures.items()}
    for name, image in images.items():
        with whole_file(folder / name) as path:
            path.write_bytes(image)
    write_whole(folder / "traces.json", render.json_text([t.to_dict() for t in traces], indent=1))
    write_whole(folder / "report.html", render.page_html(title, "".join(_body(title, tally, traces, images))))
    return [folder / name for name in (*images, "traces.json", "report.html")]


def _body(title: str, tally: DriftTally, traces: Sequence[EchoTrace], images: dict[str, bytes]) -> Iterator[str]:
    yield render.heading_html(title, 1)
    yield from (render.paragraph_html(sentence) for sentence in tally.verdict())
    yield render.heading_html("What each way of cutting does", 2)
    yield _table(tally.by_strategy(), "Replies by strategy")
    yield _image(images["wrong_replies.png"], "Share of wrong replies by strategy and first piece")
    yield _table(tally.by_first_piece(), "The same, by first piece and turn")
    yield render.heading_html("How far the echo drifts", 2)
    yield _image(images["drift_by_turn.png"], "Echo drift in characters against turn")
    yield _table(tally.by_turn(), "Prompts by turn and echo drift")
    yield render.heading_html("Why", 2)
    yield _image(images["causes.png"], "Edits by cause")
    yield _table(tally.causes(), f"Causes in {tally.traced_count} traced prompts")
    yield render.heading_html("Explained examples", 2)
    yield from _examples(traces)


def _examples(traces: Iterable[EchoTrace], count: int = 3) -> Iterator[str]:
    shown = [trace for trace in traces if trace.surprises][:count]
    yield from (trace.body() for trace in shown)
    if not shown:
        yield render.paragraph_html("No traced prompt has an edit beyond its removed control tokens.")


def _table(frame: pd.DataFrame, caption: str) -> str:
    rows = [
        [share_text(v) if isinstance(v, float) else v for v in row] for row in frame.itertuples(index=False, name=None)
    ]
    return render.table_html([str(column) for column in frame.columns], rows, caption)


def _image(png: bytes, alt: str) -> str:
    return render.image_html(f"data:image/png;base64,{base64.b64encode(png).decode()}", alt)
