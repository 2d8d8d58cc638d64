"""Mutated streams: the text that the server said, all of it and once, or a typed error with the server's words.

``HYPOTHESIS_PROFILE=nightly`` takes 20,000 of them, the ordinary suite fewer; the seed is fixed, so that both repeat.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from typing import Any

from chatlab.engines.dialects.completions import CompletionReader
from chatlab.engines.engine import Emitter, EndEvent
from chatlab.engines.transport.events import EventReader
from chatlab.errors import EngineError, RemoteError

SEED = 20261130
COUNT = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 1_500
# No server writes these of its own accord: wherever one stands in a body, it is a piece of the reply.
MARKS = "日本語猫犬山川👍😀é"
WORDS = "CUDA-out-of-memory"


def _choice(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "object": "text_completion", "model": "m", "choices": [{"index": 0, "logprobs": None, **fields}]}


def openai(pieces: list[str]) -> list[Any]:
    return [*(_choice(text=p, finish_reason=None) for p in pieces), _choice(text="", finish_reason="stop")]


def tgi_completions(pieces: list[str]) -> list[Any]:
    return [*(_choice(text=p, finish_reason="") for p in pieces), _choice(text="", finish_reason="eos_token")]


def chat(pieces: list[str]) -> list[Any]:
    return [
        *(_choice(delta={"content": p}, finish_reason=None) for p in pieces),
        _choice(delta={}, finish_reason="length"),
    ]


def vllm(pieces: list[str]) -> list[Any]:
    chunks = [_choice(text=p, finish_reason=None, stop_reason=None) for p in pieces]
    return [
        *chunks,
        _choice(text="", finish_reason="stop", stop_reason=None),
        {"choices": [], "usage": {"prompt_tokens": 3}},
    ]


def llama_cpp(pieces: list[str]) -> list[Any]:
    chunks = [{"index": 0, "content": p, "tokens": [5], "stop": False} for p in pieces]
    return [*chunks, {"content": "", "tokens": [], "stop": True, "stop_type": "eos", "stopping_word": ""}]


def koboldcpp(pieces: list[str]) -> list[Any]:
    return [*({"token": p, "finish_reason": None} for p in pieces), {"token": "", "finish_reason": "stop"}]


def tgi(pieces: list[str]) -> list[Any]:
    chunks = [
        {"index": n, "token": {"id": 5, "text": p, "special": False}, "details": None} for n, p in enumerate(pieces)
    ]
    return [*chunks, {"token": {"id": 2, "text": "</s>", "special": True}, "details": {"finish_reason": "eos_token"}}]


def ollama(pieces: list[str]) -> list[Any]:
    return [
        *({"model": "m", "response": p, "done": False} for p in pieces),
        {"response": "", "done": True, "done_reason": "stop"},
    ]


def sglang(pieces: list[str]) -> list[Any]:
    so_far = ["".join(pieces[: n + 1]) for n in range(len(pieces))]
    chunks = [{"text": text, "meta_info": {"finish_reason": None}} for text in so_far]
    return [*chunks, {"text": so_far[-1], "meta_info": {"finish_reason": {"type": "length", "length": 9}}}]


SHAPES: list[Callable[[list[str]], list[Any]]] = [
    openai,
    tgi_completions,
    chat,
    vllm,
    llama_cpp,
    koboldcpp,
    tgi,
    ollama,
    sglang,
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key and index in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in [(*path, key), *_places(item, (*path, key))]]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutate(chunks: list[Any], draw: random.Random) -> str | None:
    """Change a stream in place; the words of a failure that was put into it, if one was."""
    if not chunks:
        return None
    n = draw.randrange(len(chunks))
    kind = draw.choice(["cut", "double", "fail", "value", "delete", "rename", "empty", "swap", "none"])
    if kind == "cut":
        del chunks[n:]
    elif kind == "double":
        chunks.insert(n, copy.deepcopy(chunks[n]))
    elif kind == "fail":
        failures = [
            {"error": WORDS},
            {"object": "error", "message": WORDS},
            {"text": WORDS, "error_code": 5},
            {"detail": WORDS},
        ]
        chunks.insert(n, draw.choice(failures))
        return WORDS
    elif kind == "empty":
        chunks.insert(n, draw.choice([{}, [], None, "", 0, {"choices": []}, {"type": "ping"}]))
    elif kind == "swap":
        draw.shuffle(chunks)
    elif kind != "none" and (places := _places(chunks[n])):
        *path, key = draw.choice(places)
        holder = _at(chunks[n], tuple(path))
        if kind == "value":
            holder[key] = draw.choice([None, True, 5, 1.5, -1, "", "x", [], {}, [5], {"a": 1}])
        elif kind == "delete" or isinstance(holder, list):
            del holder[key]
        else:
            holder["".join(draw.sample("qwxyz", 4))] = holder.pop(key)
    return None


def body_of(chunks: list[Any], draw: random.Random) -> bytes:
    """The stream on the wire, characters cut or escaped as some servers do."""
    newline = draw.choice(["\n", "\r\n"])
    lines = [json.dumps(chunk, ensure_ascii=draw.random() < 0.5) for chunk in chunks]
    comments = draw.random() < 0.3
    return "".join(
        (f": ping{newline}{newline}" if comments else "") + f"data: {line}{newline * 2}" for line in lines
    ).encode()


def said(chunks: list[Any], whole: bool) -> str:
    """The reference: every mark that stands anywhere in the body, in order; in the last event where each repeats all."""
    chunks = [c for c in chunks if not (isinstance(c, dict) and "'special': True" in str(c))]  # not part of a reply
    marks = ["".join(c for c in json.dumps(chunk, ensure_ascii=False) if c in MARKS) for chunk in chunks]
    return max(marks, key=len, default="") if whole else "".join(marks)


def read(body: bytes, draw: random.Random) -> tuple[str, EngineError | None]:
    emitter = Emitter()
    reader, events = CompletionReader(emitter, ids_out=False), EventReader(line_bytes=100_000)
    error = None
    try:
        start = 0
        while start < len(body):
            size = draw.randrange(1, 60)
            for data in events.put(body[start : start + size]):
                reader.put(data)
            start += size
        for data in events.flush():
            reader.put(data)
        reader.flush()
    except EngineError as raised:
        error = raised
    emitter.end("error" if error else reader.finish_reason)
    text = ""
    while not isinstance(event := emitter.get(1), EndEvent):
        text += event.text
    return text, error


def test_mutated_streams_end_in_the_right_text_or_in_a_typed_error_with_the_servers_words() -> None:
    right = wrong = 0
    for n in range(COUNT):
        draw = random.Random(SEED + n)
        pieces = ["".join(draw.choices(MARKS, k=draw.randrange(1, 4))) for _ in range(draw.randrange(1, 6))]
        shape = draw.choice(SHAPES)
        chunks = shape(pieces)
        words = [mutate(chunks, draw) for _ in range(draw.randrange(0, 3))]
        text, error = read(body_of(chunks, draw), draw)
        why = f"seed {SEED + n}, {shape.__name__}: {chunks} gave {text!r} and {error!r}"
        marked = "".join(c for c in text if c in MARKS)  # a mutation may put other text there
        wanted = said(chunks, shape is sglang)
        if error is None:
            right += 1
            assert marked == wanted, why
            assert not any(words) or WORDS not in json.dumps(chunks), why
        else:
            wrong += 1
            assert isinstance(error, RemoteError), why
            assert shape is sglang or wanted.startswith(marked), why
            told_first = len(chunks) > 0 and WORDS in json.dumps(chunks[0])
            assert not told_first or WORDS in str(error), why
    assert right > COUNT / 5
    assert wrong > COUNT / 5
