"""Every place where a chat template can stand is in the record, and is rendered as transformers renders it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from chatlab.embedded import tokenizer_path
from chatlab.snapshots import recorder
from chatlab.snapshots.corpus import probe_corpus
from tests.support.injections import copy_of
from tests.support.templates import ALL

SAID = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def record(folder: Path, **request: object) -> dict[str, Any]:
    return recorder.record({"folder": str(folder), "corpus": probe_corpus(), **request})


def with_template(folder: Path, template: object) -> Path:
    """A copy of a tokenizer whose config has this chat template."""
    copy_of("byte-bpe", folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    return folder


def view(folder: Path, loader: str = "auto") -> dict[str, Any]:
    found: dict[str, Any] = record(folder, loaders=[loader])["views"][loader]
    return found


def places(folder: Path, loader: str = "auto") -> set[tuple[str, str, bool]]:
    return {(row["name"], row["source"], row["used"]) for row in view(folder, loader)["templates"]}


NAMED = [{"name": "default", "template": SAID}, {"name": "rag", "template": "{{ raise_exception('no') }}"}]
TOOLS = [{"name": "default", "template": SAID}, {"name": "tool_use", "template": "tools {{ tools | length }}"}]


# -- where they stand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", ["auto", "raw"])
def test_named_templates_are_rendered_under_their_names(loader, tmp_path):
    folder = with_template(tmp_path / "t", NAMED)
    assert places(folder, loader) == {(name, "tokenizer_config.json", True) for name in ("default", "rag")}
    chats = view(folder, loader)["chats"]
    assert chats["chat/turns-1"]["text"] == "Hi"
    assert "no" in chats["chat/@rag/turns-1"]["render_error"]
    assert {chat.get("template", "default") for chat in chats.values()} == {"default", "rag"}


@pytest.mark.parametrize("loader", ["auto", "raw"])
def test_the_template_for_tools_is_taken_where_tools_are_given(loader, tmp_path):
    chats = view(with_template(tmp_path / "t", TOOLS), loader)["chats"]
    assert chats["chat/tools-1"]["text"] == "tools 1"
    assert chats["chat/turns-1"]["text"] == "Hi"


@pytest.mark.parametrize("loader", ["auto", "raw"])
def test_files_of_their_own_shadow_the_config(loader, tmp_path):
    folder = with_template(tmp_path / "t", NAMED)
    (folder / "chat_template.jinja").write_text("own")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("rag")
    used = {("default", "chat_template.jinja", True), ("rag", "additional_chat_templates/rag.jinja", True)}
    latent = {(name, "tokenizer_config.json", False) for name in ("default", "rag")}
    assert places(folder, loader) == used | latent
    assert view(folder, loader)["chats"]["chat/@rag/turns-1"]["text"] == "rag"


@pytest.mark.parametrize("name", ["chat_template.json", "processor_config.json"])
@pytest.mark.parametrize("loader", ["auto", "raw"])
def test_a_processors_template_is_latent_for_a_tokenizer(loader, name, tmp_path):
    folder = with_template(tmp_path / "t", SAID)
    (folder / name).write_text(json.dumps({"chat_template": "other"}))
    assert places(folder, loader) == {("default", "tokenizer_config.json", True), ("default", name, False)}


@pytest.mark.parametrize("value", [5, [5], [{"name": 3}], {}, [], {"default": None}, None])
def test_what_is_no_template_is_none(value, tmp_path):
    found = view(with_template(tmp_path / "t", value), "raw")
    assert (found["template"], found["chats"], found["templates"]) == ({"source": None, "text": None}, {}, [])


def test_a_template_file_that_is_no_text_is_no_template(tmp_path):
    folder = with_template(tmp_path / "t", SAID)
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    assert view(folder, "raw")["template"]["text"] == SAID


# -- as transformers renders them ----------------------------------------------------------------------------


def own_and_library(template: str) -> list[tuple[str, Any, Any]]:
    """Label, our render and transformers' of the whole corpus."""
    path = tokenizer_path("byte-bpe") / "tokenizer.json"
    library = PreTrainedTokenizerFast(tokenizer_file=str(path), bos_token="<|im_start|>", eos_token="<|im_end|>")
    library.chat_template = template
    documents = {"tokenizer_config.json": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}}
    chats = recorder.Chats(Path("/nowhere"), {"corpus": probe_corpus()}, documents)
    ours = chats.own(template)
    with recorder.quiet():
        theirs = chats.library(recorder._Transformers.of(library), "default", template, ours["injected"])
    return [(label, ours["rows"][label].get("text"), theirs[label].get("text")) for label in theirs]


GENERATION = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{% if loop.first %}{% continue %}{% endif %}{{ m | tojson(indent=1) }}{% endif %}{% endfor %}"
    "{{ strftime_now('%Y') }}{{ dict(a=1) }}{{ namespace(b=2).b }}{{ enable_thinking }}"
)


@pytest.mark.parametrize("template", [*ALL.values(), GENERATION])
def test_our_renders_are_those_of_transformers(template):
    # Of no messages at all transformers makes an error of its own, before any template is asked.
    assert [row for row in own_and_library(template) if row[1] != row[2] and "roles-none" not in row[0]] == []


@pytest.mark.real
def test_published_templates_render_as_in_transformers(real):
    published = json.loads((real / "templates" / "published.json").read_text(encoding="utf-8"))["templates"]
    wrong = {
        (name, label)
        for name, template in published.items()
        for label, ours, theirs in own_and_library(template)
        if ours != theirs and "roles-none" not in label
    }
    assert wrong == set()


@pytest.mark.parametrize("name", ALL)
def test_a_watched_template_writes_what_the_plain_one_writes(name):
    values = {"messages": [{"role": "user", "content": "Hi"}], "bos_token": "<s>", "eos_token": "</s>", "tools": None}
    plain = recorder.jinja_environment().from_string(ALL[name]).render(**values)
    assert recorder.Watched(ALL[name]).render(values) == plain


def test_the_branches_that_no_probe_reaches_are_named(tmp_path):
    template = SAID + "\n{% if nobody_says_so %}\n{{ 'a' if 0 else 'b' }}\n{% elif true %}\n{% else %}x{% endif %}"
    (row,) = view(with_template(tmp_path / "t", template))["templates"]
    told = [(branch["line"], branch["branch"]) for branch in row["unreached"]]
    assert sorted(told) == [(3, "if"), (3, "inline else"), (3, "inline if"), (5, "else")]


# -- what moves ----------------------------------------------------------------------------------------------

MOVING = {
    "clock": "{{ strftime_now('%H') }}" + SAID,
    "random": "{{ ['a', 'b', 'c', 'd', 'e', 'f'] | random }}" + SAID,
    "address": "{{ messages[0].keys }}" + SAID,
}


@pytest.mark.parametrize("what", MOVING)
def test_a_template_that_is_not_the_same_twice_is_marked_and_still_recorded_alike(what, tmp_path):
    folder = with_template(tmp_path / "t", MOVING[what])
    first, second = record(folder), record(folder)
    assert recorder.canonical(first) == recorder.canonical(second)
    for name in ("auto", "raw"):
        (row,) = first["views"][name]["templates"]
        assert row["moves"] == [what]
        assert first["views"][name]["chats"]["chat/turns-1"]["moves"] == [what]


def test_a_template_that_only_could_be_random_is_marked_too(tmp_path):
    (row,) = view(with_template(tmp_path / "t", SAID + "{% if never %}{{ [1] | random }}{% endif %}"))["templates"]
    assert row["moves"] == ["random"]


def test_an_honest_template_is_not_marked(tmp_path):
    found = view(with_template(tmp_path / "t", ALL["chatml"]))
    assert "moves" not in found["templates"][0]
    assert not [chat for chat in found["chats"].values() if "moves" in chat]


# -- what a user types ---------------------------------------------------------------------------------------


def test_the_injected_token_is_what_the_template_writes_and_not_what_a_comment_names(tmp_path):
    plain = record(with_template(tmp_path / "a", ALL["chatml"]))
    commented = record(with_template(tmp_path / "b", "{# <|endoftext|> #}" + ALL["chatml"]))
    assert plain["injected"] == commented["injected"] == "<|im_start|>"
    assert plain["views"]["auto"]["chats"] == commented["views"]["auto"]["chats"]


def test_another_side_may_say_which_token_is_injected(tmp_path):
    taken = record(with_template(tmp_path / "t", ALL["chatml"]), injected="<|endoftext|>")
    assert "Say <|endoftext|> please" in taken["views"]["raw"]["chats"]["chat/edge-injection"]["text"]


def test_tokens_of_the_other_side_come_first_and_in_their_order():
    folder = tokenizer_path("byte-bpe")
    assert record(folder, also=["z", "a"])["tokens"][:2] == ["z", "a"]


# -- files that no program reads -----------------------------------------------------------------------------

DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("name", ["special_tokens_map.json", "generation_config.json", "added_tokens.json"])
@pytest.mark.parametrize("data", [b"", b"[1]", b"null", b'{"x": [1]}', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", DEEP])
def test_a_file_of_another_shape_is_an_outcome(name, data, tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "t")
    (folder / name).write_bytes(data)
    taken = record(folder)
    assert json.loads(recorder.canonical(taken))["views"]["raw"]["class"] == "Tokenizer"
    assert recorder.file_tokens(taken["documents"])
