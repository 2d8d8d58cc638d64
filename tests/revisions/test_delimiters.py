"""What a parser splits on: lost by a tokenizer it breaks; moved by white space of a template it is told as that."""

from __future__ import annotations

import json

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from tests.support.injections import copy_of, setting

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ '\n' }}{{ m.content }}<|im_end|>END{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)


def with_template(folder, template):
    copy_of("byte-bpe", folder)
    setting("tokenizer_config.json", "chat_template", to=template)(folder)
    return folder


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("written", ["{{ '\n' }}", "{{ ' ' }}", "{{ '\n\n' }}"])
def test_white_space_that_a_template_writes_is_told_below_broken(tmp_path, written, reverse):
    folders = [
        with_template(tmp_path / name, CHAT.replace("END", end)) for name, end in (("bare", ""), ("spaced", written))
    ]
    c = compare_revisions(*(reversed(folders) if reverse else folders), loader="auto")
    assert not [d for d in c.delimiters if d.broken]
    assert "no longer finds" not in c.verdict
    (told,) = [f for f in c.findings if "white space" in f.title or "whitespace" in f.title]
    assert told.kind is ChangeKind.CHAT_TEMPLATE
    assert told.severity < Severity.BREAKING
    assert "<|im_end|>" in told.title
    assert "parser" in told.title
    assert not any("''" in line for line in c.advice)


def test_white_space_that_a_tokenizer_eats_is_breaking():
    c = compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"), loader="auto")
    assert c.severity is Severity.BREAKING
    assert {"<|end|>", "<|user|>", "<|assistant|>"} <= {d.token for d in c.delimiters if d.broken}
    assert not c.spacing


def test_a_delimiter_that_the_default_decoding_drops_is_lost(tmp_path):
    """A token that becomes special vanishes where specials are skipped, and most programs skip them."""
    folders = [tokenizer_path("phi3-style/before"), copy_of("phi3-style/before", tmp_path / "special")]
    ids = {t["content"]: t["id"] for t in json.loads((folders[0] / "tokenizer.json").read_text())["added_tokens"]}
    config = json.loads((folders[0] / "tokenizer_config.json").read_text())
    token = next(t for t in ("<|user|>", "<|end|>", "</s>") if config["added_tokens_decoder"][str(ids[t])]["special"])
    setting("tokenizer_config.json", "added_tokens_decoder", str(ids[token]), "special", to=False)(folders[1])
    edited = json.loads((folders[1] / "tokenizer.json").read_text())
    for row in edited["added_tokens"]:
        row["special"] = row["special"] and row["content"] != token
    (folders[1] / "tokenizer.json").write_text(json.dumps(edited))
    c = compare_revisions(folders[1], folders[0], loader="raw")
    lost = {d.token: d for d in c.delimiters if d.broken}
    assert lost[token].lost_bare
    assert not lost[token].lost_kept
    assert c.severity is Severity.BREAKING
    assert token in c.verdict


def test_a_literal_marker_of_the_template_is_a_delimiter(tmp_path):
    """A decoder that rewrites '#' takes '### User:' from a parser, though it is no token."""
    template = "{% for m in messages %}### {{ m.role }}: {{ m.content }}{{ '\n' }}{% endfor %}"
    before, after = (with_template(tmp_path / name, template) for name in ("before", "after"))
    old = json.loads((after / "tokenizer.json").read_text())["decoder"]
    rewrite = {"type": "Replace", "pattern": {"String": "#"}, "content": "="}
    setting("tokenizer.json", "decoder", to={"type": "Sequence", "decoders": [old, rewrite]})(after)
    c = compare_revisions(before, after, loader="raw")
    assert "###" in {d.token for d in c.delimiters if d.broken}
    assert c.severity is Severity.BREAKING


@pytest.mark.parametrize(
    ("template", "told"), [(None, "is gone"), ("{% for x in %}", "no Jinja"), ("{{ 1 +", "no Jinja")]
)
def test_the_first_finding_of_a_template_that_does_not_render_is_the_reason(tmp_path, template, told):
    folder = copy_of("phi3-style/before", tmp_path / "t")
    if template is None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        del config["chat_template"]
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    else:
        setting("tokenizer_config.json", "chat_template", to=template)(folder)
    c = compare_revisions(tokenizer_path("phi3-style/before"), folder, loader="auto")
    assert c.severity is Severity.BREAKING
    assert told in c.findings[0].title
    assert c.findings[0].kind is ChangeKind.CHAT_TEMPLATE
    assert "no longer finds" not in c.verdict


@pytest.mark.real
def test_a_marker_that_becomes_a_control_piece_is_lost_to_most_programs(real):
    """Mistral's v1 writes [INST] as text, v3 as a control piece, which the default decoding leaves out."""
    c = compare_revisions(real / "mistral" / "v1", real / "mistral" / "v3", loader="sentencepiece")
    lost = {d.token for d in c.delimiters if d.lost_bare}
    assert {"[INST]", "[/INST]"} <= lost
    assert c.severity is Severity.BREAKING
    assert {f.kind for f in c.findings if f.severity is Severity.BREAKING} >= {ChangeKind.ADDED_TOKENS}
    assert "[INST]" in c.verdict
