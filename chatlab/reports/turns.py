"""The turn experiment as files: figures, traces and one self-contained page, beside Parquet and CSV rows."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab import render
from chatlab.files import whole_file, write_whole
from chatlab.plots import plot_turn_causes, plot_turns
from chatlab.turns.tally import TurnsTally
from chatlab.turns.turns_trace import TurnsTrace

if TYPE_CHECKING:
    import pandas as pd


def write_turns_report(folder: str | Path, tally: TurnsTally, traces: Sequence[TurnsTrace], title: str) -> list[Path]:
    """Write the figures, ``traces.json`` and ``report.html``; return their paths."""
    folder, by_turn = Path(folder), tally.by_turn()
    kept = (by_turn["borders"] - by_turn["lost"]).tolist()
    figures = {
        "turns.png": plot_turns(by_turn["turn"].tolist(), kept, by_turn["lost"].tolist(), unit="borders"),
        "causes.png": plot_turn_causes(tally.by_cause()),
    }
    images = {name: figure.png() for name, figure in figures.items()}
    for name, image in images.items():
        with whole_file(folder / name) as path:
            path.write_bytes(image)
    write_whole(folder / "traces.json", render.json_text([trace.to_dict() for trace in traces], indent=1))
    write_whole(folder / "report.html", render.page_html(title, "".join(_body(title, tally, traces, images))))
    return [folder / name for name in (*images, "traces.json", "report.html")]


def _body(title: str, tally: TurnsTally, traces: Sequence[TurnsTrace], images: dict[str, bytes]) -> Iterator[str]:
    yield render.heading_html(title, 1)
    yield from (render.paragraph_html(sentence) for sentence in tally.verdict())
    yield render.heading_html("Why", 2)
    yield _image(images["causes.png"], "Lost borders by cause")
    yield _table(tally.by_cause(), "Lost borders by cause, with whom it hurts and what to do")
    yield render.heading_html("At which turn", 2)
    yield _image(images["turns.png"], "Borders kept and lost by turn")
    yield _table(tally.by_turn(), "Borders by turn")
    yield render.heading_html("Explained examples", 2)
    yield from (trace.body() for trace in traces)
    if not traces:
        yield render.paragraph_html("No conversation was lost.")


def _table(frame: pd.DataFrame, caption: str) -> str:
    rows = [
        [f"{v:.1%}" if isinstance(v, float) else v for v in row] for row in frame.itertuples(index=False, name=None)
    ]
    return render.table_html([str(column) for column in frame.columns], rows, caption)


def _image(png: bytes, alt: str) -> str:
    return render.image_html(f"data:image/png;base64,{base64.b64encode(png).decode()}", alt)
