"""The figures of the real Phi-3, Llama-2 and Mistral files."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from chatlab.errors import VersionInstallError
from chatlab.history.environments import compare_versions, find_uv
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity

pytestmark = pytest.mark.real

PROMPT = "<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"


@pytest.fixture(autouse=True, scope="module")
def chatlab_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    # Environments cost a minute to make: CHATLAB_TEST_ENVIRONMENTS may name a folder that keeps them.
    cache = os.environ.get("CHATLAB_TEST_ENVIRONMENTS") or str(tmp_path_factory.mktemp("cache"))
    patch.setenv("CHATLAB_CACHE", cache)
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


# -- library versions ----------------------------------------------------------------------------------------

VERSIONS = ["4.31.0", "4.46.3", "4.57.1", "5.23.0"]


def llama_prompts(count: int) -> list[str]:
    """The base prompt of three turns and random ones of one to six, as Llama-2 chats write them."""
    rng = random.Random(7)
    words = [
        "Hi",
        "What is 1 + 1?",
        "def f(x):\n    return x",
        "こんにちは",
        "It's  fine .",
        "x != y",
        "👩‍🔬",
        "- a\n- b",
        "Bye",
    ]
    prompts = []
    for number in range(count + 1):
        turns = 3 if number == 0 else rng.randint(1, 6)
        said = [f"[INST] {rng.choice(words)} [/INST] " for _ in range(turns)]
        prompts.append("<s>" + "".join(f"{text}{rng.choice(words)} </s><s>" for text in said[:-1]) + said[-1])
    return prompts


@pytest.fixture(scope="module")
def llama2(real, tmp_path_factory):
    """The SentencePiece model alone, with the config that a hub repository has; ``legacy`` in three ways."""
    try:
        find_uv()
    except VersionInstallError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("llama2")
    for name, extra in (("unset", {}), ("legacy", {"legacy": True}), ("modern", {"legacy": False})):
        folder = root / name
        folder.mkdir()
        shutil.copy(real / "llama-2" / "tokenizer.model", folder)
        config = {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            **extra,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["auto", "LlamaTokenizer"])
def test_the_llama2_matrix_has_its_four_classes(llama2, loader):
    """L legacy, N non-legacy, L' and N' the same with other merge ties: by ids, and by the drift law."""
    prompts = llama_prompts(60)
    borders = [p.count("</s><s>") for p in prompts]
    taken = {}
    for config in ("unset", "legacy", "modern"):
        matrix = compare_versions(llama2 / config, VERSIONS, loader=loader, prompts=prompts)
        assert [c.error for c in matrix.cells] == [None] * 4
        for cell in matrix.cells:
            view = matrix.snapshots[cell.version].view(loader)
            ids = tuple(tuple(view["probes"][f"prompt/{n}"]["ids"]) for n in range(len(prompts)))
            law = "L" if list(cell.drift) == borders else "N" if set(cell.drift) == {0} else "?"
            taken[config, cell.version] = law, ids
    laws = {config: [taken[config, v][0] for v in VERSIONS] for config in ("unset", "legacy", "modern")}
    assert laws == {
        "unset": ["L", "L", "L", "N"],
        "legacy": ["L", "L", "L", "L"],
        "modern": ["L", "N", "N", "N"] if loader == "auto" else ["N", "N", "N", "N"],
    }
    # Versions 4.x agree on the ids of a class; 5.x has the primed ones, which differ where whitespace runs.
    old = {law: {ids for (_, v), (name, ids) in taken.items() if v != "5.23.0" and name == law} for law in "LN"}
    new = {law: {ids for (_, v), (name, ids) in taken.items() if v == "5.23.0" and name == law} for law in "LN"}
    assert all(len(ids) == 1 for ids in (*old.values(), *new.values()))
    assert old["L"] != new["L"]
    assert old["N"] != new["N"]


def test_nothing_in_the_files_changed_and_the_upgrade_flips_llama2(llama2):
    matrix = compare_versions(llama2 / "unset", ["4.57.1", "5.23.0"], prompts=llama_prompts(0))
    comparison = matrix.compare("4.57.1", "5.23.0")
    assert comparison.severity is Severity.BREAKING
    assert comparison.kinds == (ChangeKind.LIBRARY,)
    assert comparison.changes == ()
    assert any("transformers==4.57.1" in line for line in comparison.advice)
    row = next(r for r in comparison.drift if r.label == "prompt/0")
    assert (row.before_skip, row.after_skip) == (2, 0)


def test_a_version_that_does_not_exist_is_a_cell(llama2):
    matrix = compare_versions(llama2 / "unset", ["4.57.1", "4.99.9"])
    assert matrix.cells[0].error is None
    assert "4.99.9" in matrix.cells[1].error
