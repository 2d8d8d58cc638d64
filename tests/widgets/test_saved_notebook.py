"""A notebook with live views, run without a front end: what is saved tells the whole story, twice the same."""

from __future__ import annotations

import importlib.util
from typing import Any

import nbformat
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

CELLS = (
    """
from chatlab import ChatPanel, ChatPromptMetaLlamaLlama2Chat, StreamView, stream
from chatlab.testing import ScriptedEngine
chat = ChatPanel(ScriptedEngine(["One & <two>.", "Three."]), ChatPromptMetaLlamaLlama2Chat())
chat
""",
    "reply = await chat.ask('Hi')",
    "chat.ask_sync('again', view=False).text",
    "result = await StreamView().follow(stream('x', ScriptedEngine('a<NL>b'), replacements=[('<NL>', '|')]))",
    """
from chatlab import load_tokenizer, measure_drift
from chatlab.embedded import dialogues_path, tokenizer_path
from chatlab.prompts.dialogue import read_dialogues
from chatlab.widgets.drift_explorer import DriftExplorer
tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
DriftExplorer(measure_drift(list(read_dialogues(dialogues_path()))[:5], ChatPromptMetaLlamaLlama2Chat, tokenizer))
""",
    "view = StreamView(replace=False)\ndisplay(view)\ntext = await view.follow(['<kept>'])",
    """
from chatlab import RevisionView
from chatlab.revisions.compare import compare_revisions
picker = RevisionView(compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"))).explore()
picker
""",
    "picker.choice.value = 'chat/answered-1'",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    folder = tmp_path_factory.mktemp("live")
    path = folder / "live.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS]), path)
    assert run.main(["--folder", str(folder)]) == 0
    assert run.main(["--folder", str(folder), "--check"]) == 0
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells]


def test_the_panel_leaves_a_transcript_of_all_turns(outputs: list[list[Any]]) -> None:
    panel, transcript = outputs[0]
    assert "A chat panel stands here" in panel.data["text/html"]
    html = transcript.data["text/html"]
    assert "Transcript, 2 turns" in html
    assert "One &amp; &lt;two&gt;." in html
    assert html.index("Hi") < html.index("One") < html.index("again") < html.index("Three.")


def test_an_awaited_ask_leaves_its_reply(outputs: list[list[Any]]) -> None:
    (reply,) = outputs[1]
    assert set(reply.data) == {"text/plain", "text/html"}
    assert reply.data["text/plain"] == "assistant (done):\nOne & <two>."


def test_a_followed_stream_leaves_its_text_and_what_was_held(outputs: list[list[Any]]) -> None:
    (view,) = outputs[3]
    assert view.data["text/plain"] == "assistant (done):\na|b"
    assert "may begin &lt;NL&gt;" in view.data["text/html"]


def test_the_explorer_leaves_both_pictures(outputs: list[list[Any]]) -> None:
    live, still = outputs[4]
    assert "A drift explorer stands here" in live.data["text/html"]
    assert still.data["text/html"].count('<img src="data:image/png;base64,iVBOR') == 2
    assert "replies are wrong" in still.data["text/plain"]


def test_a_view_that_stays_leaves_its_text_below(outputs: list[list[Any]]) -> None:
    live, still = outputs[5]
    assert "A live view stands here" in live.data["text/html"]
    assert still.data["text/plain"] == "assistant (done):\n<kept>"
    assert "<summary>Reply, done</summary>" in still.data["text/html"]


def test_a_picker_leaves_what_was_chosen_last(outputs: list[list[Any]]) -> None:
    live, still = outputs[6]
    assert "A picker stands here" in live.data["text/html"]
    assert "<summary>Probe: chat/answered-1</summary>" in still.data["text/html"]


def test_nothing_needs_a_live_kernel(outputs: list[list[Any]]) -> None:
    kinds = {kind for cell in outputs for output in cell for kind in output.get("data", {})}
    assert kinds == {"text/plain", "text/html"}
