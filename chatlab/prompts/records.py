"""Records of dialogues from where they lie: JSON lines, a JSON array, Parquet, lists of dicts, a table, a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from chatlab.errors import DialogueError

Record = tuple[str, int, Any]
"""What a record is called, such as ``talks.jsonl, line``, its number, and its data, or the error of reading it."""


def records_of(source: Any) -> Iterator[Record]:
    """Stream the records of a file, or of anything that gives them when iterated.

    Args:
        source: the path of a file, a list of dicts or of whatever else, a ``datasets.Dataset``, or a table: a pandas
            DataFrame, or one of Arrow, such as a ``pyarrow.Table`` or a polars DataFrame.

    Raises:
        DialogueError: the file cannot be read, or the source gives no records.
    """
    if isinstance(source, str | Path):
        return _of_file(Path(source))
    if isinstance(source, Mapping):
        splits = [str(name) for name, split in source.items() if is_table(split)]
        if splits:
            raise DialogueError(f"a data set of several splits is not one list of dialogues: take one of {splits}")
        return iter([("item", 1, source)])
    rows = next((read(source) for knows, read in _TABLES if knows(source)), source)
    if not isinstance(rows, Iterable):
        raise DialogueError(f"dialogues are a list of Dialogue or the path of a file, not {type(source).__name__}")
    return (("item", number, row) for number, row in enumerate(rows, 1))


def is_table(source: Any) -> bool:
    """Whether it is a table or a data set, by what these have."""
    return any(knows(source) for knows, _ in _TABLES)


def _is_dataset(source: Any) -> bool:
    return hasattr(source, "column_names") and hasattr(source, "features") and isinstance(source, Iterable)


def _of_dataset(source: Any) -> Iterator[Any]:
    return map(without_nulls, source)


def _is_frame(source: Any) -> bool:
    return callable(getattr(source, "itertuples", None)) and hasattr(source, "columns")


def _of_frame(frame: Any) -> Iterator[dict[str, Any]]:
    """The rows of a pandas DataFrame without its missing cells; an index that has a name is a column."""
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DialogueError(f"two columns of the table are called {str(twice)!r:.80}: give each a name of its own")
    frame = frame.reset_index(level=[name for name in frame.index.names if name not in (None, *frame.columns)])
    missing = frame.isna().itertuples(index=False, name=None)
    for cells, are_missing in zip(frame.itertuples(index=False, name=None), missing, strict=True):
        told = zip(frame.columns, frame.dtypes, cells, are_missing, strict=True)
        row = {str(column): (dtype, cell) for column, dtype, cell, is_missing in told if not is_missing}
        # Only a table of Arrow gives every object the keys of all; what Python made is as it was said.
        is_arrow = any(type(dtype).__name__ == "ArrowDtype" or is_array(cell) for dtype, cell in row.values())
        plain = {column: cell for column, (_, cell) in row.items()}
        yield without_nulls(plain) if is_arrow else plain


def _is_arrow(source: Any) -> bool:
    return hasattr(source, "__arrow_c_stream__") or (hasattr(source, "__arrow_c_array__") and hasattr(source, "schema"))


def _of_arrow(source: Any) -> Iterator[dict[str, Any]]:
    import pyarrow

    try:
        is_stream = hasattr(source, "__arrow_c_stream__")
        batches = pyarrow.RecordBatchReader.from_stream(source) if is_stream else [pyarrow.record_batch(source)]
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                yield from map(without_nulls, batch.slice(start, _ROWS).to_pylist())
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise DialogueError(f"cannot read dialogues from a {type(source).__name__}: {error}") from error


_TABLES: tuple[tuple[Callable[[Any], bool], Callable[[Any], Iterator[Any]]], ...] = (
    (_is_dataset, _of_dataset),
    (_is_frame, _of_frame),  # before Arrow, into which a column of mixed objects does not go
    (_is_arrow, _of_arrow),
)
_ROWS = 256
"""Rows of a table that are Python's at a time."""


def is_array(value: Any) -> bool:
    """Whether it is a list as numpy holds it, such as a cell of a table."""
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 1


def _of_file(path: Path) -> Iterator[Record]:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; opening is the part that may fail
    except OSError as error:
        raise DialogueError(f"cannot read dialogues from {path}: {error.strerror}") from error
    with file:
        beginning = file.peek(4096)
        if beginning.startswith(b"PAR1"):
            yield from _of_parquet(path, file)
            return
        lines: Iterable[bytes] = file
        first = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if first == b"[" or (first == b"{" and path.suffix == ".json" and not _is_json(beginning.split(b"\n", 1)[0])):
            whole = file.read()
            items = _items(path, whole)
            yield from ((f"{path}, item", number, item) for number, item in enumerate(items or (), 1))
            lines = BytesIO(whole if items is None else b"")
        yield from _of_lines(path, lines)


def _items(path: Path, whole: bytes) -> list[Any] | None:
    """What a file holds that is one JSON array, or one object over many lines; None for JSON lines after all."""
    try:
        data = _json(whole, "file")
    except DialogueError as error:
        if _is_json(whole.split(b"\n", 1)[0]):
            return None
        raise DialogueError.at(str(path), error) from error
    return data if isinstance(data, list) else [data]


def _of_lines(path: Path, lines: Iterable[bytes]) -> Iterator[Record]:
    called = f"{path}, line"
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = _json(line)
        except DialogueError as error:
            data = error
        yield called, number, data


def _of_parquet(path: Path, file: BinaryIO) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row", number, without_nulls(row)
    except (pyarrow.ArrowException, OSError) as error:
        raise DialogueError(f"cannot read dialogues from {path}: {error}") from error


def without_nulls(row: Any) -> Any:
    """A row of a table without the keys that only other rows have: in a column all objects have the keys of each.

    What a tool is called with stays as it is, since there a null may be what the model said.

    >>> without_nulls({"messages": [{"role": "user", "content": "Hi", "tool_calls": None}]})
    {'messages': [{'role': 'user', 'content': 'Hi'}]}
    """
    if isinstance(row, Mapping):
        return {
            key: value if key == "arguments" else without_nulls(value)
            for key, value in row.items()
            if value is not None
        }
    return [without_nulls(item) for item in row] if isinstance(row, list) or is_array(row) else row


def _is_json(line: bytes) -> bool:
    try:
        _json(line)
    except DialogueError:
        return False
    return True


def _json(text: bytes, what: str = "line") -> Any:
    try:
        return json.loads(text.decode().removeprefix("\ufeff").rstrip())
    except UnicodeDecodeError as error:
        raise DialogueError(f"not UTF-8 at byte {error.start} of the {what}", kind="not UTF-8") from error
    except json.JSONDecodeError as error:
        told = f"not JSON at character {error.pos + 1} of the {what}: {error.msg}"
        raise DialogueError(told, kind=f"not JSON: {error.msg}") from error
    except RecursionError as error:
        raise DialogueError("not a dialogue: the JSON is nested too deep") from error
    except ValueError as error:  # a number of more than 4,300 digits
        raise DialogueError(f"not a dialogue: {error}", kind="a number of too many digits") from error
