"""Bytes to events, limits, addresses and keys: the same for every chunking, and never more than is allowed."""

from __future__ import annotations

import gzip
import pickle
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.engines.transport.address import roots, server_address
from chatlab.engines.transport.events import EventReader
from chatlab.engines.transport.limits import Inflater, RemoteLimits
from chatlab.engines.transport.secrets import Secret
from chatlab.errors import EngineError, RemoteCut, RemoteError
from tests.support.keys import KEY, SPELLINGS


def events(body: bytes, cuts: list[int] = (), line_bytes: int = 10_000) -> list[str]:
    reader, out = EventReader(line_bytes=line_bytes), []
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, end in zip(places, places[1:], strict=False):
        out += reader.put(body[start:end])
    return [*out, *reader.flush()]


BODIES = {
    "lines": (b'data: {"a": 1}\n\ndata: [DONE]\n\n', ['{"a": 1}', "[DONE]"]),
    "carriage returns": (b"data: 1\r\n\r\ndata: 2\r\rdata: 3\n\n", ["1", "2", "3"]),
    "names, comments, ids": (b": hi\n\nevent: message\nid: 5\nretry: 9\ndata: 1\n\n", ["1"]),
    "an event of several lines": (b"data: a\ndata: b\n\n", ["a\nb"]),
    "no blank after the colon": (b"data:1\n\n", ["1"]),
    "no newline after the mark of the end": (b"data: 1\n\ndata: [DONE]", ["1", "[DONE]"]),
    "a mark at the start": ("\ufeffdata: 日本\n\n".encode(), ["日本"]),
    "llama.cpp's old field of failures": (b'error: {"message": "x"}\n\n', ['{"message": "x"}']),
    "lines of JSON": (b'{"a": 1}\n{"b": 2}\n', ['{"a": 1}', '{"b": 2}']),
    "one JSON value": (b'{"a": 1}', ['{"a": 1}']),
    "one JSON value over lines": (b'{\n  "a": {\n    "b": 1\n  }\n}\n', ['{\n  "a": {\n    "b": 1\n  }\n}']),
    "an event that never ends": (b"data: 1\n\ndata: 2\n", ["1"]),
    "a cut field": (b"data: 1\n\nda", ["1"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("name", BODIES)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_the_same_events_come_for_every_chunking(name: str, cuts: list[int]) -> None:
    body, wanted = BODIES[name]
    assert events(body, cuts) == wanted


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>502 Bad Gateway</html>\n", "502 Bad Gateway"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"dta: lost\n\n", "dta: lost"),
        (b"data: \xff\n\n", "no UTF-8"),
        (b"data: " + b"x" * 20_000, "10,000 bytes"),
        (b"data: x\n" * 9_000, "10,000 bytes"),
        (b'{"a": ', "broke off"),
    ],
)
def test_what_is_no_event_is_an_error_with_its_words(body: bytes, words: str) -> None:
    with pytest.raises(RemoteError, match=words):
        events(body)
    assert issubclass(RemoteCut, RemoteError)


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "deflate"])
def test_a_body_is_inflated_up_to_its_limit_and_no_further(encoding: str) -> None:
    plain = b"reply " * 1000
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(plain)
    pieces = [packed[start : start + 7] for start in range(0, len(packed), 7)]
    inflater = Inflater(encoding, len(plain))
    assert b"".join(map(inflater.put, pieces)) == plain
    shorter = Inflater(encoding, len(plain) - 1)
    with pytest.raises(RemoteError, match="longer than the 5,999 bytes"):
        b"".join(map(shorter.put, pieces))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 100_000_000, 1)
    with pytest.raises(RemoteError, match="longer than the 1,000 bytes"):
        Inflater("gzip", 1000).put(bomb)
    with pytest.raises(RemoteError, match="damaged"):
        Inflater("gzip", 1000).put(b"no gzip at all")
    with pytest.raises(RemoteError, match="compressed its answer with 'br'"):
        Inflater("br", 1000)


@pytest.mark.parametrize("value", [0, -1, "5", None, True, float("nan")])
def test_a_limit_is_a_number_above_zero(value: object) -> None:
    with pytest.raises(EngineError, match="total_s must be a number above 0"):
        RemoteLimits(total_s=value)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("key", [KEY, "hf_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "EMPTY"])
def test_a_key_is_hidden_however_it_is_spelled(spelling: str, key: str) -> None:
    if len(key) < 9 and spelling in ("its end", "its beginning"):
        return
    spelled = SPELLINGS[spelling](key)
    shown = Secret(key).hide(f"the header was <{spelled}>, sorry")
    assert spelled not in shown
    assert shown.endswith("sorry")
    assert shown.startswith("the header was")


def test_words_without_a_key_stay_as_they_are() -> None:
    words = 'CUDA out of memory: 50% of 24 GB &amp; "caf\\u00e9" in bm90aGluZyB0byBzZWUgaGVyZQ== at 0x7f3a'
    assert Secret(KEY).hide(words) == words


@pytest.mark.parametrize("wrong", ["", "  \n", "a b", "sk-\n1", "sk-\x00", "schlüssel", 5, b"sk-1", ["sk-1"]])
def test_a_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(wrong: object) -> None:
    with pytest.raises(RemoteError, match="api_key must be") as caught:
        Secret(wrong)
    assert "sk-" not in str(caught.value)


def test_a_key_shows_itself_to_nobody() -> None:
    secret = Secret(f" {KEY}\n")
    assert secret.reveal() == KEY
    assert KEY not in repr(secret) + str(secret) + f"{[secret]}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:8000/v1", "http://host:8000/v1"),
        (" http://host/v1/ ", "http://host/v1"),
        ("https://host/api/v1/chat/completions", "https://host/api/v1"),
        ("http://[::1]:8080/v1/completions", "http://[::1]:8080/v1"),
    ],
)
def test_an_address_is_taken_without_what_does_not_belong_to_it(url: str, address: str) -> None:
    assert server_address(url) == address


def test_the_interface_and_the_server_have_one_address_each() -> None:
    assert roots("http://h/v1") == ("http://h/v1", "http://h")
    assert roots("http://h/api") == ("http://h/api/v1", "http://h/api")


@pytest.mark.parametrize(
    "url",
    [
        "http://host:99999/v1", "http://host:port/v1", "http://[::1", "http://h\x00st/v1", "http://host/v\x001", "http://", "",
        "ftp://host/v1", "host/v1", "file:///etc/passwd", "http://ho st/v1", "http://host/v1\r\nX: y", 5, None, b"http://host",
        f"http://host/v1?api_key={KEY}", f"http://user:{KEY}@host/v1", f"http://{KEY}@host/v1", f"http://host/v1#{KEY}",
    ],
)  # fmt: skip
def test_a_bad_address_is_a_typed_error_that_shows_no_key(url: object) -> None:
    with pytest.raises(RemoteError, match="base_url") as caught:
        server_address(url)
    assert KEY[3:] not in str(caught.value)
    assert KEY[3:] not in repr(caught.value.__cause__)
