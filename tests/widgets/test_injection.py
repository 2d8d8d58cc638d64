"""Text of users and models is shown, never obeyed: every view's HTML holds only the tags that the view wrote."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers

from chatlab import ChatPromptMetaLlamaLlama2Chat
from chatlab.echo.trace import trace_echo
from chatlab.render import readable
from chatlab.revisions.report.explain import Explanation, PieceRow
from chatlab.testing import CodePointTokenizer, ScriptedEngine
from chatlab.widgets.chat_panel import ChatPanel
from chatlab.widgets.echo_view import EchoView
from chatlab.widgets.revision_view import _chips_html
from chatlab.widgets.stream_view import StreamView
from tests.conftest import ROOT
from tests.support.payloads import PAYLOADS

ALLOWED = {
    "caption", "code", "del", "details", "div", "em", "h4", "ins", "p", "pre", "strong", "style", "sub", "summary",
    "table", "tbody", "td", "th", "thead", "tr",
}  # fmt: skip
ATTRIBUTES = {("div", "class", "chatlab"), ("th", "scope", "col"), ("pre", "dir", "auto")}


class Tags(HTMLParser):
    """What a browser would build."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", ()))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("declaration", ()))


def assert_harmless(page: str) -> Tags:
    tags = Tags(page)
    assert {tag for tag, _ in tags.found} <= ALLOWED
    for tag, attributes in tags.found:
        for name, value in attributes:
            assert (tag, name, value) in ATTRIBUTES or (tag in ("ins", "del") and name == "title"), (tag, name, value)
    return tags


def test_there_are_two_hundred_payloads() -> None:
    assert len(PAYLOADS) >= 200


@pytest.fixture(scope="module")
def lower() -> Any:
    characters = sorted({c for payload in PAYLOADS for c in payload.lower()} | set("abc "))
    rust = Tokenizer(models.BPE({c: n for n, c in enumerate(characters)}, []))
    rust.normalizer, rust.decoder = normalizers.Lowercase(), decoders.Fuse()
    return rust


def split(payload: str) -> list[str]:
    return [payload[i : i + 2] for i in range(0, len(payload), 2)]


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_no_payload_becomes_markup(payload: str, lower: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamView, "send", lambda *args: None)
    monkeypatch.setattr(ChatPanel, "send", lambda *args: None)
    view = StreamView()
    for fragment in split(payload):
        view.put(fragment)
    view.finish(payload, error=payload)
    assert readable(payload) in assert_harmless(view.saved().html()).text

    chat = ChatPanel(ScriptedEngine(payload), ChatPromptMetaLlamaLlama2Chat(), replacements=[(payload + "!", "")])
    reply = chat.ask_sync(payload, view=False)
    assert_harmless(reply.html())
    assert_harmless(chat.transcript.html())

    echo = EchoView.of_reply(lower, f"{payload} ABC {payload}", payload)
    assert_harmless(echo.html())
    assert_harmless(EchoView(trace_echo(CodePointTokenizer(), payload)).html())

    row = PieceRow(same=False, before_ids=(1,), before_pieces=(payload,), after_ids=(2,), after_pieces=(payload,))
    shown = Explanation(label=payload, text=payload, before=payload, after=payload, rows=(row,))
    assert_harmless(_chips_html(shown))


def test_a_saved_page_may_load_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamView, "send", lambda *args: None)
    view = StreamView()
    view.put("<script src=http://192.0.2.1/x.js></script>")
    page = view.saved().save_html(tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page


SCRIPTS = sorted((ROOT / "chatlab").rglob("*.js"))
FORBIDDEN = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|eval\(|new Function|srcdoc"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_text_nodes_only(path: Any) -> None:
    assert not re.findall(FORBIDDEN, path.read_text(encoding="utf-8"))
    assert "http" not in path.read_text(encoding="utf-8")


def test_sources_write_no_html_around_text_that_is_not_escaped() -> None:
    """An f-string that holds a tag may fill it only by a name that says the value is HTML already, or by escape."""
    known = re.compile(
        r"^(escaped?\(|_?\w*html\w*|''\.join|title|code|head|body|kind|tag|words|policy|PAGE_STYLE|STYLE|style|chip\.kind|chip\.token_id|level|summary|out)"
    )
    wrong = []
    for path in sorted((ROOT / "chatlab").rglob("*.py")):
        for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert path.name == "render.py" or "html.escape" not in line.replace(
                "from html import escape", "html.escape"
            )
            if re.search(r"""f["'].*</?[a-z]+[ >{]""", line):
                for value in re.findall(r"\{([^{}]+)\}", line):
                    if not known.match(value.strip()):
                        wrong.append(f"{path.name}:{line_number}: {{{value}}}")
    assert wrong == []


def test_html_widgets_get_nothing_but_a_views_own_html() -> None:
    for path in sorted((ROOT / "chatlab").rglob("*.py")):
        for use in re.findall(
            r"(?:ipywidgets|widgets)\.HTML(?:Math)?\(((?:[^()]|\(\))*)\)", path.read_text(encoding="utf-8")
        ):
            assert use in ("", "value=self.view.html()"), f"{path.name}: {use}"
        assert "Markdown(" not in path.read_text(encoding="utf-8"), path.name
        assert "IPython.display import HTML" not in path.read_text(encoding="utf-8"), path.name
