"""The page's own routes: what a browser is told it may do, which files there are, who may ask."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from chatlab.browser.assets import asset
from chatlab.server.admission import Admission
from chatlab.server.serving import Serving
from chatlab.server.site.app import create_app
from chatlab.server.site.page import page_routes
from chatlab.testing import CodePointTokenizer, ScriptedEngine


@pytest.fixture
def client() -> Any:
    serving = Serving(ScriptedEngine("x", CodePointTokenizer()), admission=Admission(3, 4))
    app = create_app(serving, page_routes(serving, name="tiny </h1>", fault="adds"), name="tiny")
    return TestClient(app, base_url="http://localhost:8000")


def test_the_page_may_run_its_own_script_and_ask_its_own_server_alone(client: Any) -> None:
    answer = client.get("/")
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == rules["style-src"] == rules["img-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["trusted-types"] == "'none'"
    assert not re.search(r"<script>|<style|\son\w+=|style=|https?:", answer.text)


def test_every_file_that_the_page_names_is_there(client: Any) -> None:
    named = re.findall(r'(?:href|src)="([^"]+)"', client.get("/").text)
    assert len(named) == 3
    for name in named:
        answer = client.get(f"/{name}")
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
        assert answer.text


@pytest.mark.parametrize("file", ["log.js", "../errors.py", "..%2ferrors.py", "chat_page.html", ""])
def test_no_other_file_is(client: Any, file: str) -> None:
    assert client.get(f"/page/{file}").status_code == 404


def test_no_script_of_the_page_writes_markup_or_asks_elsewhere() -> None:
    for name in ("log.js", "ask.js", "server_reply.js", "chat_page.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", asset(name)), (
            name
        )


def test_the_page_is_told_the_model_the_fault_and_the_special_ids(client: Any) -> None:
    assert client.get("/page/about").json() == {"name": "tiny </h1>", "fault": "adds", "special_ids": []}


def test_ids_have_pieces_and_one_beyond_the_vocabulary_has_none(client: Any) -> None:
    answer = client.post("/page/pieces", json={"token_ids": [65, 0x1F60A, 2**80, -1, 0x110000]})
    assert answer.json() == {"pieces": ["A", "😊", "", "", ""]}


@pytest.mark.parametrize(
    "body", [{}, {"token_ids": 5}, {"token_ids": ["a"]}, {"token_ids": [True]}, {"token_ids": [1.5]}]
)
def test_what_is_no_list_of_ids_is_refused_by_name(client: Any, body: Any) -> None:
    answer = client.post("/page/pieces", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, "token_ids")


def test_health_tells_how_full_the_server_is(client: Any) -> None:
    told = {"status": "ok", "model": "tiny", "running": 0, "waiting": 0, "max_running": 3, "max_waiting": 4}
    assert client.get("/health").json() == told


@pytest.mark.parametrize("path", ["/", "/health", "/page/about", "/page/chat_page.js", "/nothing"])
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8000", "10.0.0.1", "", "localhost@evil.example"]
)
def test_a_name_that_was_pointed_here_gets_nothing(client: Any, path: str, host: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert (answer.status_code, answer.json()["error"]) == (403, "host_refused")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403), ({"content-type": "text/plain"}, 415)],
)
def test_a_page_of_another_site_may_not_ask(client: Any, headers: dict[str, str], status: int) -> None:
    assert client.post("/page/pieces", content=b'{"token_ids": [1]}', headers=headers).status_code == status
