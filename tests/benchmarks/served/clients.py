"""Clients on bare sockets, the same for every server, so that what they cost is little and alike."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a server is asked, and what the first character of its answer looks like."""

    path: str
    first: re.Pattern[bytes]
    each: re.Pattern[bytes]
    """What stands on the wire once a token."""
    accept: str = "*/*"

    def body(self, text: str, new_tokens: int) -> dict[str, object]:
        return {"user_input": text}


class AskingServe(Asking):
    """transformers serve takes messages, and the sampling that the others are built with."""

    def body(self, text: str, new_tokens: int) -> dict[str, object]:
        sampling = {"do_sample": True, "top_k": 50, "top_p": 0.7, "temperature": 0.7}
        return {
            "messages": [{"role": "user", "content": text}],
            "stream": True,
            "max_tokens": new_tokens,
            "generation_config": json.dumps(sampling),
        }


_EOS = re.compile(rb".<::EOS::>")
CHATSTREAM = Asking(path="/chat_stream", first=_EOS, each=re.compile(rb"<::EOS::>"))
SSE = Asking(
    path="/chat_stream",
    first=re.compile(rb'"text": ?"[^"]'),
    each=re.compile(rb"event: delta"),
    accept="text/event-stream",
)
DELTA = Asking(path="/deltas", first=re.compile(rb"\r\n\r\n."), each=re.compile(rb"\S+"))
SERVE = AskingServe(
    path="/v1/chat/completions", first=re.compile(rb'"content": ?"[^"]'), each=re.compile(rb'"content": ?"')
)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer as its client saw it."""

    first_s: float
    total_s: float
    token_len: int
    """Pieces that came, which is tokens where a server sends each by itself."""
    byte_len: int
    cookie: str


async def ask(port: int, asking: Asking, text: str, new_tokens: int, cookie: str = "") -> Answered:
    """One request on a connection of its own, read to its end."""
    body = json.dumps(asking.body(text, new_tokens)).encode()
    head = [f"POST {asking.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json"]
    head += [f"Accept: {asking.accept}", f"Content-Length: {len(body)}", "Connection: close"]
    head += [f"Cookie: {cookie}"] if cookie else []
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    raw, first_s = bytearray(), 0.0
    while piece := await reader.read(1 << 16):
        raw += piece
        if not first_s and asking.first.search(raw):
            first_s = time.perf_counter() - start
    total_s = time.perf_counter() - start
    writer.close()
    assert raw.startswith(b"HTTP/1.1 200"), raw[:300]
    assert first_s, raw[:600]
    set_cookie = re.search(rb"(?i)\r\nset-cookie: ([^;\r]+)", raw)
    return Answered(
        first_s=first_s,
        total_s=total_s,
        token_len=len(asking.each.findall(raw)),
        byte_len=len(raw),
        cookie=set_cookie[1].decode() if set_cookie else cookie,
    )


def ask_all(port: int, asking: Asking, texts: Sequence[str], new_tokens: int) -> tuple[list[Answered], float]:
    """All at once, each a user of its own; and the seconds until the last was answered."""

    async def together() -> list[Answered]:
        return await asyncio.gather(*(ask(port, asking, text, new_tokens) for text in texts))

    start = time.perf_counter()
    answers = asyncio.run(together())
    return answers, time.perf_counter() - start
