"""Records of dialogues are read from wherever they lie: lines, arrays, tables, lists, data sets."""

from __future__ import annotations

import json

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from chatlab.errors import DialogueError
from chatlab.prompts.dialogue import Dialogue, Turn, read_dialogues
from chatlab.prompts.messages import write_dialogues
from chatlab.prompts.records import without_nulls

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": null, "y": 1.0}'}}
RECORDS = [
    {"id": "a", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "日本"}]},
    {"id": "b", "messages": [
        {"role": "user", "content": "f?"},
        {"role": "assistant", "content": None, "reasoning_content": "Hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]},
]  # fmt: skip
WANTED = [Dialogue.from_dict(record) for record in RECORDS]


def lines(path):
    path.write_text("\n".join(map(json.dumps, RECORDS)), encoding="utf-8")


def array(path):
    path.write_bytes(b"\xef\xbb\xbf " + json.dumps(RECORDS, indent=1, ensure_ascii=False).encode())


def array_on_a_line(path):
    path.write_text(json.dumps(RECORDS), encoding="utf-8")


def table(path):
    parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)


@pytest.mark.parametrize("write", [lines, array, array_on_a_line, table])
@pytest.mark.parametrize("name", ["talks.json", "talks.jsonl", "talks"])
def test_a_file_is_known_by_what_is_in_it(tmp_path, write, name):
    write(tmp_path / name)
    found = list(read_dialogues(tmp_path / name))
    assert [dialogue.calls for dialogue in found][0] == WANTED[0].calls
    # a table cannot tell a content of null from none at all, which no template can either
    assert [d.id for d in found] == ["a", "b"]
    assert [{k: v for k, v in m.items() if v is not None} for d in found for m in d.messages] == [
        {k: v for k, v in m.items() if v is not None} for r in RECORDS for m in r["messages"]
    ]


def test_one_object_over_many_lines_is_one_dialogue(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(RECORDS[1], indent=2), encoding="utf-8")
    assert list(read_dialogues(tmp_path / "one.json")) == WANTED[1:]


class Dataset:
    """As much of a ``datasets.Dataset`` as is looked at."""

    column_names = ("id", "messages")
    features = None

    def __init__(self, rows):
        self.rows = pyarrow.Table.from_pylist(rows).to_pylist()

    def __iter__(self):
        return iter(self.rows)

    def __len__(self):
        return len(self.rows)


def test_lists_and_data_sets_are_read():
    assert list(read_dialogues(RECORDS)) == WANTED
    assert list(read_dialogues(iter(RECORDS))) == WANTED
    assert list(read_dialogues([WANTED[0], RECORDS[1]])) == WANTED
    assert list(read_dialogues(RECORDS[0])) == WANTED[:1]
    assert list(read_dialogues(WANTED[1])) == WANTED[1:]
    first, second = read_dialogues(Dataset(RECORDS))
    assert first == WANTED[0]
    assert second.messages[1]["tool_calls"] == [CALL]
    assert "tool_calls" not in second.messages[0]


def frame(rows):
    return pandas.DataFrame(rows)


def arrow(rows):
    return pyarrow.Table.from_pylist(rows)


TABLES = {
    "pandas": frame,
    "pandas of arrow": lambda rows: arrow(rows).to_pandas(),
    "pandas with arrow's types": lambda rows: arrow(rows).to_pandas(types_mapper=pandas.ArrowDtype),
    "pandas with an index": lambda rows: frame(rows).set_index("id"),
    "a table": arrow,
    "a batch": lambda rows: arrow(rows).to_batches()[0],
    "a reader": lambda rows: arrow(rows).to_reader(),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_a_table_is_read_as_a_list_of_its_rows_is(make):
    """Empty cells aside, of which a list has none; null in what a tool is called with stays."""
    rows = [
        {**RECORDS[0], "labels": {"kind": "a"}, "source": "web"},
        {**RECORDS[1], "labels": {"kind": "b"}, "enable_thinking": True},
    ]
    rows[0] |= {"enable_thinking": None}  # Arrow takes its columns from the first row
    found = [without_nulls(dialogue.to_dict()) for dialogue in read_dialogues(make(rows))]
    assert found == [without_nulls(dialogue.to_dict()) for dialogue in read_dialogues(rows)]


def test_a_frame_of_python_objects_keeps_what_was_said():
    """Objects that no Arrow column holds: texts beside parts, numbers beside texts, a null that was said."""
    calls = [{**CALL, "function": {"name": "f", "arguments": {"x": value}}} for value in (None, 1, "a", [1])]
    rows = [
        {
            "messages": [
                {"role": "user", "content": content},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ]
        }
        for content, call in zip(["a", [{"type": "text", "text": "b"}], "c", "d"], calls, strict=True)
    ]
    assert list(read_dialogues(frame(rows))) == list(read_dialogues(rows))


def test_what_a_table_says_twice_or_not_at_all_is_a_typed_error():
    twice = pandas.DataFrame([[1, 2]], columns=["messages", "messages"])
    with pytest.raises(DialogueError, match="two columns of the table are called 'messages'"):
        list(read_dialogues(twice))
    with pytest.raises(DialogueError, match='item 1: no "turns" and no'):
        list(read_dialogues(frame([{"a": 1}])))
    with pytest.raises(DialogueError, match="cannot read dialogues from a ChunkedArray"):
        list(read_dialogues(pyarrow.chunked_array([[1]])))
    with pytest.raises(DialogueError, match="several splits"):
        list(read_dialogues({"train": frame(RECORDS)}))
    assert list(read_dialogues(frame([]))) == list(read_dialogues(arrow([]))) == []


def test_a_null_that_the_model_said_is_no_empty_cell():
    row = {"tool_calls": [{"function": {"name": "f", "arguments": {"x": None}, "strict": None}}], "name": None}
    assert without_nulls(row) == {"tool_calls": [{"function": {"name": "f", "arguments": {"x": None}}}]}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"train": Dataset(RECORDS), "test": Dataset(RECORDS)}, r"several splits .*take one of \['train', 'test'\]"),
        ([{"id": "a"}], 'item 1: no "turns" and no "messages"'),
        (["Hi"], "item 1: a dialogue is a JSON object, not str"),
        (3, "dialogues are a list of Dialogue or the path of a file, not int"),
    ],
)
def test_what_is_no_list_of_dialogues_is_a_typed_error(source, told):
    with pytest.raises(DialogueError, match=told):
        list(read_dialogues(source))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[\n{"turns": 1},\n', "talks: not JSON at character 17 of the file: Illegal trailing comma|Expecting value"),
        (b'[{"turns": [{"user": "a"}]}, {"turns": 1}]', 'talks, item 2: "turns" must be a list'),
        (b"[1]", "talks, item 1: a dialogue is a JSON object, not int"),
        (b"PAR1 and no more", "cannot read dialogues from .*talks: "),
    ],
)
def test_a_bad_array_or_table_is_named(tmp_path, content, told):
    (tmp_path / "talks").write_bytes(content)
    with pytest.raises(DialogueError, match=told):
        list(read_dialogues(tmp_path / "talks"))


def test_reasons_are_counted_by_kind_whatever_their_place():
    bad = []
    message = {"role": "user", "content": "a"}
    given = [{"turns": 1}, {"turns": 2}, {"id": 1}, {"id": 2, "x": 3}, {"messages": [message, {"role": "user", "content": 1}]}, {"messages": [{"role": "user", "content": 1}]}]  # fmt: skip
    assert not list(read_dialogues(given, skip_bad=True, on_bad=bad.append))
    kinds = [error.kind for error in bad]
    assert kinds[0] == kinds[1]
    assert kinds[2:4] == ['no "turns" and no "messages" in it'] * 2
    assert kinds[4:] == ["message N: content must be a string or a list of parts, not int"] * 2


def test_what_json_cannot_say_is_a_typed_error(tmp_path):
    image = object()
    dialogue = Dialogue.from_dict({"id": "d", "messages": [{"role": "user", "content": [{"type": "image", "image": image}]}]})  # fmt: skip
    assert dialogue.messages[0]["content"][0]["image"] is image
    with pytest.raises(DialogueError, match="dialogue 'd' cannot be written as JSON: .*object"):
        write_dialogues(tmp_path / "d.jsonl", [dialogue])
    assert not list(tmp_path.iterdir())


def test_dialogues_of_every_kind_come_back_from_their_file(tmp_path):
    dialogues = [*WANTED, Dialogue(id="c", turns=[Turn(user="a")], system="", tools=[], variables={"x": None})]
    write_dialogues(tmp_path / "d.jsonl", dialogues)
    assert list(read_dialogues(tmp_path / "d.jsonl")) == dialogues
