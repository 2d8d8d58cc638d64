"""The figures of the real Phi-3, Llama-2 and Mistral files."""

from __future__ import annotations

import json
import shutil

import pytest

from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.kinds import ChangeKind
from chatlab.revisions.severity import Severity

pytestmark = pytest.mark.real

PROMPT = "<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"


@pytest.fixture(autouse=True, scope="module")
def chatlab_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("CHATLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def phi3(real, tmp_path_factory):
    """The four combinations of old and new file, each with config.json."""
    root = tmp_path_factory.mktemp("phi3")
    for config in ("before", "after"):
        for tokenizer in ("before", "after"):
            folder = root / f"{config}-{tokenizer}"
            folder.mkdir()
            shutil.copy(real / "phi-3" / config / "tokenizer_config.json", folder)
            shutil.copy(real / "phi-3" / tokenizer / "tokenizer.json", folder)
            (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    return root


def test_phi3_differs_in_twelve_booleans_and_breaks(phi3):
    c = compare_revisions(phi3 / "before-before", phi3 / "after-after", prompts=[PROMPT])
    rows = [x for x in c.changes if x.file == "tokenizer.json"]
    assert len(rows) == 12
    assert all(isinstance(x.before, bool) and isinstance(x.after, bool) for x in rows)
    assert sorted((x.path.split("/")[-1], x.after) for x in rows) == [("rstrip", True)] * 11 + [("special", False)]
    assert c.severity is Severity.BREAKING
    row = next(r for r in c.drift if r.label == "prompt/0")
    assert (row.before_ids, row.after_ids) == (26, 12)
    assert (row.before_keep, row.after_keep) == (7, -4)
    assert c.explain("prompt/0").after.count("\n") == 0
    assert {d.token for d in c.delimiters if d.broken} >= {"<|user|>", "<|end|>", "<|assistant|>"}
    for token in ("<|user|>", "<|end|>", "<|assistant|>"):
        assert token in c.verdict


def test_the_named_commit_is_no_change_for_the_auto_loader_and_one_for_raw_tokenizers(phi3):
    c = compare_revisions(phi3 / "before-before", phi3 / "before-after", prompts=[PROMPT])
    assert len(c.changes) == 12
    assert c.probes == ()
    loaders = {row.loader: row for row in c.loaders}
    assert loaders["auto"].note == "unchanged"
    assert loaders["raw"].severity is Severity.BREAKING
    assert "through the raw loader it is BREAKING" in c.verdict
    raw = compare_revisions(phi3 / "before-before", phi3 / "before-after", prompts=[PROMPT], loader="raw")
    row = next(r for r in raw.drift if r.label == "prompt/0")
    assert (row.before_ids, row.after_ids, row.before_keep, row.after_keep) == (26, 12, 7, -4)


def test_the_break_came_one_commit_earlier_with_the_config(phi3):
    c = compare_revisions(phi3 / "before-before", phi3 / "after-before", prompts=[PROMPT])
    assert c.severity is Severity.BREAKING
    row = next(r for r in c.drift if r.label == "prompt/0")
    assert (row.before_ids, row.after_ids) == (26, 12)


def test_without_config_json_the_same_files_tokenize_otherwise(phi3, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(phi3 / "before-before", bare)
    (bare / "config.json").unlink()
    c = compare_revisions(phi3 / "before-before", bare, prompts=[PROMPT])
    assert c.kinds == (ChangeKind.LAYOUT,)
    assert c.severity is Severity.BREAKING
    assert next(r.after_ids for r in c.drift if r.label == "prompt/0") == 19
    assert any("no config.json" in note for note in c.notes)


def test_mistral_v1_to_v3_is_a_renumbering_with_control_tokens(real):
    c = compare_revisions(real / "mistral" / "v1", real / "mistral" / "v3")
    assert c.severity is Severity.BREAKING
    assert c.kinds[0] is ChangeKind.VOCABULARY
    assert c.vocabulary.before_len, c.vocabulary.after_len == (32000, 32768)
    assert (c.vocabulary.added_len, c.vocabulary.moved_len) == (768, 31997)
    assert "renumbered by +768" in c.findings[0].title
    assert "[INST]" in c.findings[0].title
    control = [x.path for x in c.changes if x.kind is ChangeKind.ADDED_TOKENS]
    assert "kinds/[INST]" in control
    assert "kinds/[TOOL_CALLS]" in control
