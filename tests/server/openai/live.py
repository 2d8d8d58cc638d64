"""A server of the OpenAI face on loopback, as a program would start one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import uvicorn
from fastapi import FastAPI

from chatlab.server.openai.routes import openai_routes
from chatlab.server.serving import Serving
from chatlab.tokenizers.load import as_tokenizer
from tests.support.templates import fast_tokenizer


@contextmanager
def served(serving: Serving, model: str = "tiny", **options: Any) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """The address and the event loop of a server that runs inside the block."""
    app = FastAPI(openapi_url=None)
    app.include_router(openai_routes(serving, model=model, **options))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", timeout_keep_alive=30)
    server = uvicorn.Server(config)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()), name="uvicorn", daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", loop
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


def wait_for(condition, timeout_s: float = 10.0) -> float:
    """Wait until something holds; seconds that it took."""
    start = time.perf_counter()
    while not condition():
        assert time.perf_counter() - start < timeout_s, "it did not come about"
        time.sleep(0.002)
    return time.perf_counter() - start


QWEN = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + (message.content or '') }}"
    "{% for call in message.tool_calls or [] %}{{ '<tool_call>\n' }}{% if call.function.arguments is string %}"
    "{{ call.function.arguments }}{% else %}{{ call.function | tojson }}{% endif %}{{ '\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
"""A template that thinks, calls tools and has a switch, as Qwen's do."""


@cache
def chat_tokenizer():
    """Byte-level, with ChatML's control tokens and the template above."""
    return as_tokenizer(fast_tokenizer("byte bpe", QWEN, eos="<|im_end|>"))
