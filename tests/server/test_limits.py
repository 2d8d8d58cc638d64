"""What a request may be, before anything of it is obeyed."""

from __future__ import annotations

import asyncio

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from chatlab.errors import ContextLengthError, GenerationError, RequestError, TooManyRequests
from chatlab.server.limits import (
    DRAINED_BYTES,
    LOOPBACK_HOSTS,
    Limits,
    check_content_type,
    check_host,
    check_origin,
    json_object,
    read_body,
)
from chatlab.server.refusal import refusal_of


def request_of(*chunks, wait=0.0):
    sent = list(chunks)

    async def receive():
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": sent.pop(0), "more_body": bool(sent)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive), sent


def read(*chunks, wait=0.0, given=None, **limits):
    request, left = request_of(*chunks, wait=wait)
    return asyncio.run(read_body(request, Limits(**limits), given)), left


def test_a_body_of_just_the_limit_is_read_and_one_byte_more_is_not():
    assert read(b"12", b"34", body_bytes=4)[0] == b"1234"
    with pytest.raises(RequestError, match="longer than the 4 bytes") as told:
        read(b"12", b"345", body_bytes=4)
    assert told.value.status == 413


def test_of_a_body_that_is_too_long_so_much_is_drained_that_its_sender_reads_why():
    chunks = [b"x" * 2**20] * 40
    request, left = request_of(*chunks)
    with pytest.raises(RequestError):
        asyncio.run(read_body(request, Limits()))
    assert len(left) == 40 - DRAINED_BYTES // 2**20 - 1


def test_a_body_that_drips_is_given_up():
    with pytest.raises(RequestError) as told:
        read(b"{", b"}", wait=0.02, read_s=0.03)
    assert told.value.status == 408


@pytest.mark.parametrize("given", ['{"a": "é"}', '{"a": "é"}'.encode()])
def test_a_body_that_the_program_read_stands_in(given):
    assert json_object(read(b"", given=given)[0]) == {"a": "é"}
    with pytest.raises(RequestError):
        read(b"", given=given, body_bytes=3)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"3", b'"x"', b"true", b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}',
        b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": [' + b"[" * 60_000, b'{"a": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_a_400(body):
    with pytest.raises(RequestError) as told:
        json_object(body)
    assert told.value.status == 400


def test_json_may_spell_a_whole_character_by_surrogates():
    assert json_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_let_in(kind):
    check_content_type(Headers({"content-type": kind}))


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json+x", "x" * 999]
)
def test_what_a_foreign_page_may_send_unasked_is_a_415(kind):
    with pytest.raises(RequestError) as told:
        check_content_type(Headers({} if kind is None else {"content-type": kind}))
    assert told.value.status == 415


@pytest.mark.parametrize("origin", [None, "http://me.test:8000", "https://ME.test:8000"])
def test_the_same_origin_is_let_in(origin):
    headers = {"host": "me.test:8000"} | ({} if origin is None else {"origin": origin})
    check_origin(Headers(headers))


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.test", "http://me.test", "http://me.test:8001", "http://me.test:8000@evil.test",
     "http://x@me.test:8000", "file://me.test:8000", "http://[", "me.test:8000"],
)  # fmt: skip
def test_another_origin_is_a_403(origin):
    with pytest.raises(RequestError) as told:
        check_origin(Headers({"host": "me.test:8000", "origin": origin}))
    assert told.value.status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_a_loopback_name_is_ours(host):
    check_host(Headers({"host": host}), LOOPBACK_HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.test",
        "127.0.0.1.evil.test",
        "localhost.",
        "localhost@evil.test",
        "localhost:80:80",
        "[::1",
        "0x7f.1",
    ],
)
def test_a_name_that_was_pointed_here_is_a_403(host):
    with pytest.raises(RequestError) as told:
        check_host(Headers({} if host is None else {"host": host}), LOOPBACK_HOSTS)
    assert told.value.status == 403
    check_host(Headers({"host": str(host)}), None)


def test_an_error_of_the_inside_is_told_by_its_kind_alone():
    told = refusal_of(GenerationError("canary /home/me/model.safetensors"))
    assert (told.status, told.message) == (500, "the answer failed: GenerationError")
    assert "canary" not in str(refusal_of(KeyError("canary")))


def test_an_error_of_the_client_is_told_in_full():
    assert refusal_of(ContextLengthError("12001 tokens")).code == "context_length_exceeded"
    full = refusal_of(TooManyRequests("full", place=3, retry_after=1.2))
    assert (full.status, full.headers, full.place) == (429, {"Retry-After": "2"}, 3)
