"""Files that come or go, and bytes that two readers take otherwise: told as what they do, and never as a crash."""

from __future__ import annotations

import json

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from tests.support.injections import copy_of, edit

BASE = "byte-bpe"
CONTRADICTING = {
    "another-id": ("added_tokens.json", {"<|im_end|>": 4999}, ChangeKind.ADDED_TOKENS),
    "another-token": ("added_tokens.json", {"<|nobody|>": 4999}, ChangeKind.ADDED_TOKENS),
    "another-end": ("special_tokens_map.json", {"pad_token": "<|im_start|>"}, ChangeKind.SPECIALS),
}


@pytest.mark.parametrize("name", CONTRADICTING)
@pytest.mark.parametrize("comes", [True, False])
def test_a_file_that_says_otherwise_than_those_beside_it_is_no_mere_layout(tmp_path, name, comes):
    file, said, kind = CONTRADICTING[name]
    plain, contradicting = copy_of(BASE, tmp_path / "plain"), copy_of(BASE, tmp_path / "contradicting")
    for folder in (plain, contradicting):
        edit("tokenizer_config.json", lambda v: v.update(pad_token="<|endoftext|>"))(folder)
    (contradicting / file).write_text(json.dumps(said))
    c = compare_revisions(*((plain, contradicting) if comes else (contradicting, plain)), loader="auto")
    assert c.kinds[0] is kind
    assert c.severity >= Severity.MAJOR_LATENT


def test_a_file_that_repeats_what_the_others_say_is_layout(tmp_path):
    folder = copy_of(BASE, tmp_path / "t")
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    (folder / "added_tokens.json").write_text(json.dumps({t["content"]: t["id"] for t in tokens}))
    c = compare_revisions(tokenizer_path(BASE), folder, loader="auto")
    assert (c.kinds, c.severity) == ((ChangeKind.LAYOUT,), Severity.INFO)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_json_of_another_encoding_gets_a_verdict(tmp_path, encoding, file):
    """One reader takes it, another does not: a verdict about the loader, and no failed assertion."""
    folder = copy_of("phi3-style/before", tmp_path / "t")
    text = (folder / file).read_text()
    (folder / file).write_bytes(text.encode(encoding))
    c = compare_revisions(tokenizer_path("phi3-style/before"), folder)
    assert any(file in finding.title or file in line for finding in c.findings for line in (*finding.evidence, ""))
    assert c.severity is (Severity.BREAKING if c.after.error else Severity.INFO)
