"""Plain data: what is written is read back equal, and what does not fit is refused where it stands."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.errors import ChatlabError, PlainDataError
from chatlab.plain import Plain
from chatlab.severity import Severity


class Kind(StrEnum):
    A = "a"
    B = "b"


@dataclass(frozen=True, kw_only=True)
class Row(Plain):
    name: str
    span: tuple[int, int]
    kind: Kind
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Told(Plain):
    told_beside = ("double",)

    number: int

    @property
    def double(self) -> int:
        return 2 * self.number


@dataclass(frozen=True, kw_only=True)
class Around(Plain):
    told: Told


def test_what_is_told_beside_the_fields_is_written_and_not_read() -> None:
    assert Around(told=Told(number=2)).to_dict() == {"told": {"number": 2, "double": 4}}
    assert Around.from_dict({"told": {"number": 2, "double": 7}}) == Around(told=Told(number=2))


@dataclass(frozen=True, kw_only=True)
class Whole(Plain):
    rows: tuple[Row, ...]
    severity: Severity
    reason: Literal["stop", "eos"] | None
    logprobs: tuple[float | None, ...] | None
    options: dict[str, bool]
    value: Any
    flag: int | bool | None
    first: Row | None = None
    source: object = field(default=None, metadata={"plain": False}, compare=False)


text = st.text()
rows = st.builds(
    Row,
    name=text,
    span=st.tuples(st.integers(), st.integers()),
    kind=st.sampled_from(Kind),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
wholes = st.builds(
    Whole,
    rows=st.lists(rows, max_size=3).map(tuple),
    severity=st.sampled_from(Severity),
    reason=st.sampled_from(["stop", "eos", None]),
    logprobs=st.none() | st.lists(st.none() | st.floats(-9, 0)).map(tuple),
    options=st.dictionaries(text, st.booleans()),
    value=st.none() | st.integers() | text | st.lists(st.integers()),
    flag=st.none() | st.integers() | st.booleans(),
    first=st.none() | rows,
    source=st.just(object()),
)


@given(wholes)
def test_what_is_written_is_read_back_equal_also_through_json(whole: Whole) -> None:
    assert Whole.from_dict(whole.to_dict()) == whole
    assert Whole.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    assert "source" not in whole.to_dict()


GOOD = Whole(
    rows=(Row(name="x", span=(1, 2), kind=Kind.A),),
    severity=Severity.MAJOR,
    reason=None,
    logprobs=None,
    options={},
    value=None,
    flag=None,
).to_dict()


def test_enums_are_written_by_their_word() -> None:
    assert isinstance(Severity.MAJOR, Enum)
    assert (GOOD["severity"], GOOD["rows"][0]["kind"]) == (Severity.MAJOR.label, "a")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"rows": [{**GOOD["rows"][0], "name": 5}]}, "rows[0].name"),
        ({"rows": [{**GOOD["rows"][0], "span": [1, "2"]}]}, "rows[0].span"),
        ({"rows": [{**GOOD["rows"][0], "span": [1, 2, 3]}]}, "rows[0].span"),
        ({"rows": [{**GOOD["rows"][0], "span": [True, 2]}]}, "rows[0].span"),
        ({"rows": [{**GOOD["rows"][0], "kind": "z"}]}, "rows[0].kind"),
        ({"rows": [{**GOOD["rows"][0], "more": 1}]}, "more"),
        ({"rows": 7}, "rows"),
        ({"rows": [7]}, "rows[0]"),
        ({"severity": "dreadful"}, "severity"),
        ({"reason": "tired"}, "reason"),
        ({"logprobs": ["a"]}, "logprobs"),
        ({"flag": "1"}, "flag"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(change: dict[str, Any], place: str) -> None:
    with pytest.raises(PlainDataError, match="Whole") as caught:
        Whole.from_dict({**GOOD, **change})
    assert place in str(caught.value)


def test_a_missing_field_and_no_mapping_are_refused() -> None:
    with pytest.raises(PlainDataError, match="options"):
        Whole.from_dict({name: value for name, value in GOOD.items() if name != "options"})
    for wrong in ([], None, "x", 3):
        with pytest.raises(ChatlabError, match="no mapping"):
            Whole.from_dict(wrong)  # type: ignore[arg-type]
