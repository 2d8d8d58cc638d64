"""Whoever holds a result can show it, tabulate it, draw it and save it, whatever text is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.lib.pretty import pretty
from tokenizers import Tokenizer, decoders, models, normalizers

from chatlab import (
    ChatPromptMetaLlamaLlama2Chat,
    audit_template,
    diagnose,
    load_tokenizer,
    measure_drift,
    measure_turns,
    stream,
    sweep,
    trace_echo,
    trace_turns,
)
from chatlab.buffering.tokflow import TokFlow
from chatlab.buffering.trace import BufferTrace
from chatlab.echo.edits import Cause, Edit
from chatlab.echo.summary import DriftTally
from chatlab.echo.trace import EchoTrace
from chatlab.embedded import tokenizer_path
from chatlab.errors import OutputError
from chatlab.history.bisection import Bisection, Step
from chatlab.history.matrix import matrix_of
from chatlab.locks.check import CheckReport, CheckResult, check
from chatlab.locks.lock import lock
from chatlab.plots import Drawing
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.prompts.flaws import Flaw, FlawKind
from chatlab.prompts.prompt_difference import PromptDifference, TemplateComparison
from chatlab.results import Result
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.report.explain import Explanation
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import snapshot
from chatlab.streaming.result import StreamResult
from chatlab.sweeps.task import Task
from chatlab.testing import CodePointTokenizer, ScriptedEngine
from chatlab.testing.streaming_check import ChangedAnswer, StreamingCheck
from chatlab.turns.audit.against import audit_patch
from chatlab.turns.tally import TurnsTally
from chatlab.widgets.chat_panel import ChatPanel
from chatlab.widgets.drift_explorer import DriftExplorer
from chatlab.widgets.echo_view import EchoView
from chatlab.widgets.live_text import LiveText
from chatlab.widgets.revision_view import RevisionView
from chatlab.widgets.saved_text import SavedText, Transcript
from chatlab.widgets.turns.turns_view import TurnsView
from tests.conftest import ROOT
from tests.support.injections import copy_of, edit, setting

BIDI, ANSI = "\u202e", "\x1b[31m"
EVIL = f"A<img src=http://192.0.2.1/p.png onerror=alert(1)></pre></td><script>alert(1)</script>{BIDI}{ANSI}$x_$日本"
"""Markup, an address, a turn of direction, a terminal's command, a formula, and letters that a plot font lacks."""

SEMANTIC = {
    "b", "caption", "code", "del", "details", "em", "figcaption", "figure", "h3", "h4", "img", "ins", "li", "mark", "p", "pre",
    "strong", "sub", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    ("th", "scope"), ("pre", "dir"), ("details", "open"), ("ins", "title"), ("del", "title"), ("img", "alt"), ("code", "aria-hidden"),
}  # fmt: skip


class Tags(HTMLParser):
    """What a browser would build."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str, str]] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {(tag, name, value or "") for name, value in attrs}


@pytest.fixture(scope="module")
def lower() -> Any:
    rust = Tokenizer(models.BPE({c: n for n, c in enumerate(sorted(set(EVIL.lower()) | set("abc ")))}, []))
    rust.normalizer, rust.decoder = normalizers.Lowercase(), decoders.Fuse()
    return rust


def written(role: str = "assistant") -> SavedText:
    text = LiveText(1, role)
    text.put(EVIL)
    text.finish("error", error=EVIL)
    return SavedText.of(text)


def spoken() -> ChatPanel:
    chat = ChatPanel(
        ScriptedEngine(EVIL), ChatPromptMetaLlamaLlama2Chat(), replacements=[("<img", "<IMG"), ("日本!", "")]
    )
    chat.ask_sync(EVIL, view=False)
    return chat


def different() -> PromptDifference:
    flaw = Flaw(kind=FlawKind.DOUBLE_BOS, side="class", detail=EVIL)
    return PromptDifference(
        dialogue_id=EVIL, turn_number=1, class_text=f"<s>{EVIL}", template_text=f"{EVIL} {EVIL}", class_ids=[1, 2, 3],
        template_ids=[2, 3, 4, 5], flaws=(flaw,),
    )  # fmt: skip


def drift_frame(lower: Any) -> pd.DataFrame:
    turns = (Turn(user="Aa", assistant="bb"), Turn(user="A b", assistant="b a"))
    return measure_drift([Dialogue(id=EVIL, turns=turns)], ChatPromptMetaLlamaLlama2Chat, CodePointTokenizer())


@pytest.fixture(scope="module")
def results(lower: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    patch = pytest.MonkeyPatch()
    patch.setenv("CHATLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(ChatPanel, "send", lambda *args: None)
    made = dict(make(lower, tmp_path_factory.mktemp("folders")))
    yield made
    patch.undo()


def make(lower: Any, folder: Path) -> Iterator[tuple[str, Result]]:
    """One of each, by what it is; text of users, models and files is hostile wherever there is any."""
    reply = stream("ab", ScriptedEngine(EVIL)).result()
    yield "StreamResult", reply
    yield (
        "StreamResult with logprobs",
        StreamResult.from_dict({**reply.to_dict(), "token_ids": [1, 2], "logprobs": [-1, -0.2]}),
    )
    yield "SavedText", written()
    chat = spoken()
    answer = ChatPanel(ScriptedEngine(EVIL), ChatPromptMetaLlamaLlama2Chat(), show="tokens").ask_sync(EVIL, view=False)
    yield "ChatReply", answer
    yield "Transcript", chat.transcript
    yield "EchoTrace", trace_echo(lower, f"{EVIL} ABC")
    yield "EchoView", EchoView.of_reply(lower, f"{EVIL} ABC", EVIL)
    yield (
        "BufferTrace",
        TokFlow([("<img", EVIL), ("$x_$!", "")]).trace([EVIL[n : n + 3] for n in range(0, len(EVIL), 3)]),
    )
    difference = different()
    yield "PromptDifference", difference
    flaws = {(FlawKind.DOUBLE_BOS.value, EVIL): 1}
    yield (
        "TemplateComparison",
        TemplateComparison(
            prompt_class=EVIL,
            tokenizer=EVIL,
            prompts=2,
            same_text=1,
            same_ids=1,
            flaws=flaws,
            differences=(difference,),
        ),
    )
    frame = drift_frame(lower)
    yield "DriftTally", DriftTally([frame])
    yield "DriftExplorer", DriftExplorer({EVIL: frame})
    turns = (Turn(user=EVIL, assistant=f" {EVIL} "), Turn(user="A"))
    trace = trace_turns(lower, Dialogue(id=EVIL, turns=turns), prompt_class="llama2", stored="stripped")
    yield "TurnsTrace", trace
    yield "TurnsView", TurnsView(trace)
    yield "TurnsTally", TurnsTally(measure_turns([Dialogue(id=EVIL, turns=turns)], "llama2", lower, stored="stripped"))
    yield "Sweep", sweep([Task("snapshot", {"tokenizer": EVIL})], out=folder / "sweep")
    yield from make_revisions(folder)


def make_revisions(folder: Path) -> Iterator[tuple[str, Result]]:
    evil = copy_of("phi3-style/before", folder / "evil")
    setting("tokenizer_config.json", "chat_template", to=lambda t: EVIL + t)(evil)
    edit("tokenizer.json", lambda v: v["added_tokens"].append({**v["added_tokens"][-1], "id": 5000, "content": EVIL}))(
        evil
    )
    before = tokenizer_path("phi3-style/before")
    short = f"{BIDI}{ANSI}<img src=x onerror=alert(1)>"  # an excerpt shows it whole
    yield "TemplateAudit", audit_template("{{ messages[-1].content }}" + short)
    yield "TemplatePatch", audit_patch("{{ messages[-1].content }}", "{{ messages[-1].content }}" + EVIL)
    talks = [{"id": EVIL, "turns": [{"user": EVIL, "assistant": EVIL}] * 2}]
    yield "Diagnosis", diagnose(before, "chatml", talks)
    comparison = compare_revisions(before, evil, prompts=[EVIL])
    yield "Comparison", comparison
    yield "Explanation", comparison.explain("prompt/0")
    yield "RevisionView", RevisionView(comparison, "prompt/0")
    yield "Snapshot", replace(comparison.snapshots[1], label=EVIL)  # type: ignore[index]
    entry = lock("t", str(evil), path=folder / "chatlab.lock", prompts=[EVIL])
    yield "Entry", entry
    (same,) = check(path=folder / "chatlab.lock")
    yield "CheckResult as locked", same
    moved = CheckResult(alias=EVIL, severity=Severity.MAJOR, lines=(EVIL,), comparison=comparison)
    gone = CheckResult(alias=EVIL, severity=Severity.NONE, lines=(), error=EVIL)
    yield "CheckResult", moved
    yield "CheckResult without a verdict", gone
    yield "CheckReport", CheckReport([same, moved, gone])
    step = Step(commit="f" * 40, title=EVIL, date="2023-07-01T00:00:00Z", changed=(EVIL,), severity=Severity.MAJOR)
    yield (
        "Bisection",
        Bisection(
            source=EVIL,
            before="e" * 40,
            after="f" * 40,
            first=step,
            at_least=Severity.MINOR,
            steps=(step,),
            comparison=comparison,
        ),
    )
    taken = snapshot(before, "auto", prompts=[EVIL])
    yield "VersionMatrix", matrix_of(EVIL, "auto", {"4.57.1": taken, "9.9.9": EVIL})
    changed = (ChangedAnswer(fragments=(EVIL, "x"), answer=EVIL, whole_answer=f"{EVIL}x"),)
    yield "StreamingCheck", StreamingCheck(changed=changed, sample_len=2, cutting_len=9, changed_len=4)


NAMES = (
    "StreamResult", "StreamResult with logprobs", "SavedText", "ChatReply", "Transcript", "EchoTrace", "EchoView", "BufferTrace",
    "PromptDifference", "TemplateComparison", "DriftTally", "DriftExplorer", "TurnsTrace", "TurnsView", "TurnsTally", "Sweep", "TemplateAudit", "TemplatePatch", "Diagnosis", "Comparison", "Explanation", "RevisionView", "Snapshot",
    "Entry", "CheckResult as locked", "CheckResult", "CheckResult without a verdict", "CheckReport", "Bisection", "VersionMatrix",
    "StreamingCheck",
)  # fmt: skip


@pytest.fixture(params=NAMES)
def result(request: pytest.FixtureRequest, results: dict[str, Result]) -> Result:
    return results[request.param]


def test_every_class_of_result_is_tried(results: dict[str, Result]) -> None:
    assert tuple(results) == NAMES
    written_down = set()
    for path in (ROOT / "chatlab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and {"Result", "SavedText"} & {ast.unparse(base) for base in node.bases}:
                written_down.add(node.name)
    assert {type(result).__name__ for result in results.values()} == written_down


def bundle(result: Result) -> dict[str, Any]:
    return result._repr_mimebundle_()


def test_the_plain_text_says_something_and_commands_no_terminal(result: Result) -> None:
    text = bundle(result)["text/plain"]
    assert text.strip()
    assert text == str(result)
    assert not text.startswith("<chatlab"), "no address in memory"
    assert BIDI not in text
    assert "\x1b" not in text
    if not isinstance(result, DriftExplorer):
        assert pretty(result) == text, "in a list, too"


def test_the_html_is_escaped_and_needs_no_style(result: Result) -> None:
    body = result.body()
    tags = Tags(body)
    assert tags.elements <= SEMANTIC
    assert len(tags.elements & {"pre", "table", "details", "p"}) > 0
    for tag, name, value in tags.attributes:
        assert (tag, name) in ATTRIBUTES or (
            (tag, name) == ("img", "src") and value.startswith("data:image/png;base64,")
        )
    for disturbing in (BIDI, "\x1b", "<script", "<img src=h"):
        assert disturbing not in body
    assert '<th scope="col"></th>' not in body, "a screen reader reads every header"
    assert bundle(result)["text/html"] == result.html() == result._repr_html_()
    assert Tags(result.html()).elements <= SEMANTIC | {"style", "div"}


SHOW_NO_TEXT = {"DriftTally", "TurnsTally", "DriftExplorer", "StreamResult with logprobs", "CheckResult as locked"}
"""They hold counts and names that cannot be hostile; all others must show the payload as text."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SHOW_NO_TEXT])
def test_the_payload_is_seen_with_its_signs(name: str, results: dict[str, Result]) -> None:
    body = results[name].body()
    assert "onerror=alert(1)&gt;" in body.replace("·", " ").lower().replace("<del>", "").replace("<ins>", "")
    assert "\\u202e" in body
    assert "\\x1b[31m" in body or "\\x1b" in body


def test_the_table_is_a_frame_with_rows(result: Result) -> None:
    frame = result.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) > 0
    assert all(isinstance(column, str) for column in frame.columns)


def test_the_figure_is_a_drawing_with_a_title_and_named_axes(result: Result) -> None:
    """A glyph that the font lacks is a warning, and a warning is an error here."""
    figure = result.figure()
    assert isinstance(figure, Drawing)
    assert figure.png().startswith(b"\x89PNG")
    assert result.figure().png() == result.figure().png()
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    assert any(titles)
    if type(result).__name__ != "VersionMatrix":  # a square of versions names its rows and columns
        assert all(axes.get_xlabel() for axes in figure.axes)


def test_the_saved_page_is_whole_and_loads_nothing(result: Result, tmp_path: Path) -> None:
    path = result.save_html(str(tmp_path / "page.html"))
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'" in page
    tags = Tags(page)
    assert not tags.elements & {"script", "link", "iframe", "object", "a", "form", "base", "video", "audio"}
    loaded = [value for _, name, value in tags.attributes if name in ("src", "href", "data", "action", "poster")]
    assert all(value.startswith("data:image/png") for value in loaded)
    assert "@import" not in page
    assert "url(" not in page
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_page(
    error: Any, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    write = Path.write_text

    def half(self: Path, text: str, **options: Any) -> int:
        write(self, text[: len(text) // 2], **options)
        raise error

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OutputError if isinstance(error, OSError) else error):
        result.save_html(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


EMPTY = [
    SavedText(role="user", text="", finish_reason=None, error="", steps=()),
    Transcript(messages=()),
    BufferTrace(steps=()),
    trace_echo(CodePointTokenizer(), "abc"),
    TemplateComparison(prompt_class="C", tokenizer="t", prompts=0, same_text=0, same_ids=0),
    Explanation(label="", text="", before="", after="", rows=()),
    CheckReport(),
    Bisection(source="s", before="e" * 40, after="f" * 40, first=None, at_least=Severity.MAJOR, steps=()),
    matrix_of("s", "auto", {"9.9.9": "no such version"}),
    DriftTally(),
]


@pytest.mark.parametrize("empty", EMPTY, ids=lambda empty: type(empty).__name__)
def test_what_is_empty_is_shown_too(empty: Result, tmp_path: Path) -> None:
    assert isinstance(str(empty), str)
    assert Tags(empty.body()).elements <= SEMANTIC
    assert isinstance(empty.to_frame(), pd.DataFrame)
    assert empty.figure().png().startswith(b"\x89PNG")
    assert empty.save_html(tmp_path / "page.html").is_file()


def test_equal_revisions_give_a_table_without_rows_and_a_figure() -> None:
    same = compare_revisions(*2 * [tokenizer_path("byte-bpe")])
    assert list(same.to_frame()) == list(compare_revisions(*2 * [tokenizer_path("byte-bpe")]).to_frame())
    assert len(same.to_frame()) == 0
    assert same.figure().png()


def test_a_kept_control_token_is_underlined_and_not_struck_out() -> None:
    """It is in the prompt and in the echo: only the plan said otherwise."""
    kept = Edit(
        kind="keep", prompt_span=(1, 5), echo_span=(1, 5), prompt_text="</s>", echo_text="</s>", token_index=1, piece="</s>",
        cause=Cause.UNEXPLAINED,
    )  # fmt: skip
    trace = EchoTrace(
        tokenizer="t", loader="l", versions={}, add_special_tokens=False, skip_special_tokens=True, prompt="a</s>", token_ids=(1, 2),
        echo="a</s>", edits=(kept,), skip_echo_len=1,
    )  # fmt: skip
    view = EchoView(EchoTrace.from_dict(trace.to_dict()))
    assert "<del>" not in view.html()
    assert "<ins>&lt;/s&gt;</ins>" in view.html()
    assert "{+</s>+}" in str(view)
    assert view.to_frame()["drift"].tolist() == [4]
    assert trace.drift == 4
    assert view.figure().axes[0].lines[0].get_ydata()[-1] == 4  # type: ignore[index]


def test_a_figure_of_a_reply_names_its_least_sure_tokens() -> None:
    reply = ChatPanel(ScriptedEngine("sure or not"), ChatPromptMetaLlamaLlama2Chat(), show="tokens").ask_sync(
        "Hi", view=False
    )
    tokens = [step for step in reply.steps if step.logprob is not None]
    assert tokens
    (axes,) = reply.figure().axes
    assert len(axes.texts) == min(3, len(tokens))
    assert axes.get_ylabel() == "log probability (nats)"


def test_a_figure_of_a_text_shows_what_was_held() -> None:
    view = SavedText(
        role="assistant", text="Hi", finish_reason="eos", error="",
        steps=spoken().transcript.messages[-1].steps,
    )  # fmt: skip
    (axes,) = view.figure().axes
    came_in, decided = axes.lines[:2]
    assert list(came_in.get_ydata())[-1] == list(decided.get_ydata())[-1] == len(EVIL)
    assert any(a > b for a, b in zip(came_in.get_ydata(), decided.get_ydata(), strict=True))


def test_a_figure_of_a_dialogue_has_a_bar_a_message() -> None:
    dialogue = Transcript(messages=(written("user"), written("assistant")))
    (axes,) = dialogue.figure().axes
    assert [bar.get_width() for bars in axes.containers for bar in bars] == [len(EVIL)] * 2
    assert {bars[0].get_hatch() for bars in axes.containers} == {"", "///"}, "told apart without colour"


def test_a_figure_of_severities_reaches_to_the_words() -> None:
    report = CheckReport(
        [
            CheckResult(alias="a", severity=Severity.NONE, lines=()),
            CheckResult(alias="b", severity=Severity.MAJOR, lines=("x",)),
        ]
    )
    (axes,) = report.figure().axes
    assert [bar.get_width() for bar in axes.containers[0]] == [0, 4]
    assert axes.get_xticklabels()[4].get_text() == "MAJOR"


def test_a_figure_of_two_tokenizations_shows_each_id_once(results: dict[str, Result]) -> None:
    shown = different()
    (axes,) = shown.figure().axes
    ends = [
        max(path.vertices[:, 0].max() for path in runs.get_paths()) for runs in axes.collections if runs.get_paths()
    ]
    assert max(ends) == len(shown.template_ids)


def test_a_page_of_drift_shows_both_pictures(results: dict[str, Result]) -> None:
    assert results["DriftExplorer"].page().count("<img src=") == 2
    assert "application/vnd.jupyter.widget-view+json" in bundle(results["DriftExplorer"])
    assert bundle(results["DriftExplorer"])["image/png"].startswith(b"\x89PNG")


def test_a_lone_surrogate_is_no_obstacle(tmp_path: Path) -> None:
    trace = TokFlow([("<", ">")]).trace(["a\ud800", "<b"])
    assert trace.to_frame()["fragment"].tolist() == ["a\ud800", "<b", ""]
    assert trace.to_frame()["raw_len"].sum() == 2 + 4 + 4
    assert "\\ud800" in trace.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    text = SavedText(role="user", text="\ud800", finish_reason=None, error="", steps=())
    assert "\\ud800" in str(text)
    assert text.save_html(tmp_path / "page.html").is_file()


def test_a_trace_that_was_read_again_saves_the_same_page() -> None:
    """A trace holds plain values only, so that saving it needs no tokenizer."""
    trace = trace_echo(load_tokenizer(tokenizer_path("llama2-style/legacy")), "<s>[INST] Hi [/INST]")
    assert EchoTrace.from_dict(trace.to_dict()).page() == trace.page()
