"""``chatlab chat --url``: what a text server is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.embedded import model_path

REPLY = 'data: {"choices": [{"text": "Hi.", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class TextServer(BaseHTTPRequestHandler):
    """It takes text only, and says the same to all."""

    prompts: list[str]

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["content-length"])))["prompt"]
        status, kind, body = 400, "text/plain", "prompt must be a string"
        if isinstance(prompt, str):
            self.prompts.append(prompt)
            status, kind, body = 200, "text/event-stream", REPLY
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    TextServer.prompts = []
    with ThreadingHTTPServer(("127.0.0.1", 0), TextServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("model", "bos"), [(model_path(), ""), (Path("my/model"), "<s>")], ids=["here", "elsewhere"])
def test_a_text_server_gets_one_bos_where_the_models_files_are_here_too(url: str, model: Path, bos: str) -> None:
    arguments = ["chat", str(model), "--url", url, "--prompt", "llama2"]
    run = CliRunner().invoke(app, arguments, input=b"a\nb\n")
    assert run.exit_code == 0, run.output
    first, second = TextServer.prompts[-2:]
    assert first.startswith(f"{bos}[INST] ")
    assert second == f"{first}Hi. </s><s>[INST] b [/INST] "
