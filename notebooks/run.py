"""Run the notebooks offline and write their outputs, or check that the committed outputs are still true.

    python notebooks/run.py                     write
    python notebooks/run.py --check             run again, compare, write nothing; exit code 1 on a difference
    python notebooks/run.py --only 04           those whose name contains it

Only this script writes outputs, so that two runs give the same bytes: counts from 1, ids by position, no times,
no widget state. Texts and tables are compared byte for byte; pictures by presence and size, because fonts differ.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import struct
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CELL_TIMEOUT_S = 120
NOTEBOOK_LIMIT, OUTPUT_LIMIT = 1_000_000, 200_000
PICTURE_TOLERANCE = 0.1
"""A picture's sides may differ by this share: labels are as wide as the machine's font."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
STATIC_FORMS = {"text/html", "image/png"}
CLOSED = '<div class="chatlab"><details>'
"""How the static form below a live view begins."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed outputs and write nothing")
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="part of a notebook's name")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the notebooks lie")
    options = parser.parse_args(arguments)

    paths = sorted(options.folder.glob("*.ipynb"))
    if options.only:
        paths = [path for path in paths if any(part in path.name for part in options.only)]
        if not paths:
            parser.error(f"no notebook in {options.folder.name}/ is called {' or '.join(options.only)}")
    failed = [path.stem for path in paths if not visit(path, check=options.check)]
    print(f"{len(paths)} notebooks, " + (f"wrong: {', '.join(failed)}" if failed else "all well"))
    return 1 if failed else 0


def visit(path: Path, *, check: bool) -> bool:
    """Run one notebook, then write it or compare it; print one line, and what is wrong."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    started = time.monotonic()
    try:
        execute(notebook, path.parent)
        normalise(notebook)
        problems = list(broken_rules(notebook))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        problems = [COLOUR.sub("", str(error)).strip()]
    took = time.monotonic() - started
    after = to_json(notebook)
    if check and not problems:
        problems = list(differences(nbformat.reads(before, as_version=4), notebook))
    if not check and not problems and after != before:
        replace(path, after)
    verdict = "WRONG" if problems else "as committed" if check else "unchanged" if after == before else "written"
    print(f"{path.stem}: {verdict}, {took:.1f} s, {len(after) / 1000:.0f} kB", flush=True)
    for problem in problems:
        print("  " + problem.replace("\n", "\n  "), flush=True)
    return not problems


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Fill in the outputs, in a kernel that knows neither the network nor this user's settings."""
    with tempfile.TemporaryDirectory(prefix="nb") as scratch:
        settings = {f"JUPYTER_{name}_DIR": f"{scratch}/{name[0]}" for name in ("CONFIG", "DATA", "RUNTIME")}
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        ours = {**ENVIRONMENT, **settings, "IPYTHONDIR": f"{scratch}/i", "PYTHONPATH": python_path}
        saved = os.environ.copy()
        os.environ.update(ours)
        try:
            NotebookClient(
                notebook,
                timeout=CELL_TIMEOUT_S,
                kernel_name="python3",
                record_timing=False,
                store_widget_state=False,
                config=Config() if os.name == "nt" else Config(KernelManager=private_sockets(scratch)),
                resources={"metadata": {"path": str(folder)}},
            ).execute()
        finally:
            os.environ.clear()
            os.environ.update(saved)


def private_sockets(folder: str) -> dict[str, str]:
    """Sockets in a folder instead of open TCP ports; the path is given, else kernel and client each use their own."""
    return {"transport": "ipc", "connection_file": f"{folder}/kernel.json", "ip": f"{folder}/s"}


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Take out what differs between two runs that did the same, and what needs a live kernel."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = 5
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        cell.outputs = merged(cell.outputs)
        cell.execution_count = None
        if cell.source.strip():
            cell.execution_count = count = count + 1
        below_a_widget = False
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            data = output.get("data", {})
            if below_a_widget and "text/html" in data:  # alone in the file, it need not be closed
                data["text/html"] = data["text/html"].replace(CLOSED, CLOSED.replace("details", "details open"))
            below_a_widget = WIDGET_VIEW in data and bool(STATIC_FORMS & data.keys())
            if below_a_widget:
                del data[WIDGET_VIEW]


def merged(outputs: list[Any]) -> list[Any]:
    """Join what one stream printed in a row: where the kernel cut it depends on its clock."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" == last.get("output_type") and output.name == last.get("name"):
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def broken_rules(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """What must not be committed."""
    nbformat.validate(notebook)
    if (size := len(to_json(notebook))) > NOTEBOOK_LIMIT:
        yield f"the notebook has {size:,} bytes; the limit is {NOTEBOOK_LIMIT:,}"
    for number, output in outputs_of(notebook):
        where = f"In [{number}]"
        text = json.dumps(output, ensure_ascii=False)
        if output["output_type"] == "error":
            yield f"{where}: the output is an error, {output['ename']}: {output['evalue']}"
        if len(text) > OUTPUT_LIMIT:
            yield f"{where}: an output has {len(text):,} bytes; the limit is {OUTPUT_LIMIT:,}"
        if WIDGET_VIEW in output.get("data", {}):
            yield f"{where}: a widget without a still form (text/html or image/png), which would vanish from the saved file"
        for folder in private_folders():
            if folder in text:
                yield f"{where}: an output names a folder of this machine: {folder}"


def private_folders() -> set[str]:
    """Places that mean nothing to another reader."""
    known = {"/home/", "/Users/", "/tmp/", "C:\\\\Users"}
    ours = {str(ROOT), str(Path.home()), tempfile.gettempdir(), sys.prefix}
    return known | {folder.rstrip("/\\") + os.sep for folder in ours if len(folder) > 2}


def differences(committed: nbformat.NotebookNode, fresh: nbformat.NotebookNode) -> Iterator[str]:
    """How a fresh run differs from the file."""
    yield from broken_rules(committed)
    old, new = dict(shown(committed)), dict(shown(fresh))
    for place in dict.fromkeys([*old, *new]):
        a, b = old.get(place), new.get(place)
        if a is None or b is None:
            yield f"{place}: {'only in the new run' if a is None else 'only in the file'}"
        elif isinstance(a, tuple) and isinstance(b, tuple):
            if any(abs(x - y) > PICTURE_TOLERANCE * max(x, y) for x, y in zip(a, b, strict=True)):
                yield f"{place}: {a[0]} x {a[1]} pixels in the file, {b[0]} x {b[1]} in the new run"
        elif a != b:
            lines = difflib.unified_diff(str(a).splitlines(), str(b).splitlines(), "the file", "the new run", n=0)
            yield "\n".join([f"{place} differs:", *(line[:200] for line in list(lines)[:12])])
    if committed.metadata != fresh.metadata or [c.id for c in committed.cells] != [c.id for c in fresh.cells]:
        yield "metadata or cell ids are not as this script writes them: run it without --check"
    if [c.get("execution_count") for c in committed.cells] != [c.get("execution_count") for c in fresh.cells]:
        yield "the counts do not go 1, 2, 3: run this script without --check"


def shown(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str | tuple[int, int]]]:
    """Each place a reader looks at, with its text, or the size of its picture."""
    for number, cell in enumerate(notebook.cells):
        yield f"cell {number}, source", cell.source
    seen: dict[str, int] = {}
    for count, output in outputs_of(notebook):
        data = output.get("data", {f"{output.get('name', 'error')}": output.get("text", output.get("traceback", ""))})
        for kind, value in sorted(data.items()):
            place = f"In [{count}], {kind}"
            seen[place] = seen.get(place, 0) + 1
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            yield f"{place} {seen[place]}", png_size(text) if kind == "image/png" else text


def outputs_of(notebook: nbformat.NotebookNode) -> Iterator[tuple[int | None, Any]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield cell.execution_count, output


def png_size(encoded: str) -> tuple[int, int]:
    """Width and height, from the header."""
    width, height = struct.unpack(">II", b64decode(encoded)[16:24])
    return width, height


def to_json(notebook: nbformat.NotebookNode) -> str:
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def replace(path: Path, text: str) -> None:
    """Write beside, then rename: an interrupt leaves the old file whole."""
    beside = path.with_suffix(".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main())
