"""``chatlab serve`` as its user meets it: an address, every face of one model, and a good end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chatlab.cli import app
from chatlab.server.faults.table import FAULTS
from tests.conftest import ROOT

MESSAGES = [{"role": "user", "content": "Where is Tokyo?"}]


class Served:
    """The command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "chatlab", "serve", "--port", "0", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout
        self.said = self.process.stdout.readline()
        self.url = next((word for word in self.said.split() if word.startswith("http")), "")

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **headers})
        return urllib.request.urlopen(request, timeout=60)

    def ended(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = Served("--store", str(tmp_path_factory.mktemp("store") / "chats.sqlite"))
    yield one
    assert one.ended() == (0, "")


@pytest.fixture(scope="module")
def dishonest() -> Iterator[Served]:
    one = Served("--fault", "double-bos", "--wire", "delta")
    yield one
    code, err = one.ended()
    assert (code, "dishonest on purpose: double-bos" in err) == (0, True)


def read_ids(one: Served) -> list[int]:
    with one.ask("tokenize", {"messages": MESSAGES, "add_generation_prompt": True}) as answer:
        return json.load(answer)["tokens"]


def test_it_says_where_and_every_face_answers(honest: Served) -> None:
    assert "Ctrl-C ends it" in honest.said
    with honest.ask("health") as answer:
        assert json.load(answer)["model"] == "tiny-llama2-chat"
    with honest.ask("") as answer:
        assert "text/html" in answer.headers["content-type"]
    with honest.ask("v1/chat/completions", {"messages": MESSAGES}) as answer:
        assert json.load(answer)["choices"][0]["message"]["content"]
    with honest.ask("chat_stream", {"user_input": "Where is Tokyo?"}) as answer:
        cookie = answer.headers["set-cookie"].split(";")[0]
        said = answer.read().decode()
    assert said.endswith("<::EOS::>")
    with honest.ask("get_prompt", Cookie=cookie) as answer:
        told = json.load(answer)["messages"]
    assert [message["role"] for message in told] == ["user", "assistant"]
    assert told[1]["content"] == said.split("<::EOS::>")[-2]


def test_a_fault_is_said_and_is_in_every_reading(honest: Served, dishonest: Served) -> None:
    ids = read_ids(honest)
    assert read_ids(dishonest) == [ids[0], *ids]
    with dishonest.ask("chat_stream", {"user_input": "Hi"}) as answer:
        assert b"<::EOS::>" not in answer.read()
    body = {"user_input": "Where is Tokyo?", "return_token_ids": True}
    with dishonest.ask("chat_stream", body, Accept="text/event-stream") as answer:
        begun = next(line for line in answer if b"prompt_token_ids" in line)
    assert json.loads(begun.removeprefix(b"data: "))["prompt_token_ids"] == [ids[0], *ids]
    with dishonest.ask("v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1}) as answer:
        assert json.load(answer)["usage"]["prompt_tokens"] == len(ids) + 1


def test_faults_are_listed_and_an_unknown_one_is_a_wrong_call() -> None:
    listed = CliRunner().invoke(app, ["serve", "--fault", "list"])
    assert listed.exit_code == 0
    assert [line.partition(":")[0] for line in listed.output.splitlines()] == list(FAULTS)
    wrong = CliRunner().invoke(app, ["serve", "--fault", "nothing"])
    assert wrong.exit_code == 3
    assert "double-bos" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--host", "0.0.0.0"], "this machine alone"), (["--fault", "tools-dropped"], "changes nothing")],
)
def test_what_cannot_be_served_is_told_with_the_way_out(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.split())


def test_a_folder_that_is_no_store_is_told(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["serve", "--port", "0", "--store", str(tmp_path)])
    assert refused.exit_code == 2
    assert "sessions cannot be kept" in " ".join(refused.output.split())
