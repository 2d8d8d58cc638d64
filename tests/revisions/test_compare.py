"""Two revisions against each other: the Phi-3 story on our own pair of the same kind, and what a result promises."""

from __future__ import annotations

import json
import shutil

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.errors import OutputError, RevisionCompareError, TokenizerLoadError
from chatlab.revisions.compare import compare_revisions, compare_snapshots
from chatlab.revisions.comparison import Comparison
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import Snapshot, snapshot
from tests.support.injections import copy_of, edit, setting

PROMPT = "<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"


@pytest.fixture(scope="module")
def phi3() -> Comparison:
    return compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"), prompts=[PROMPT])


@pytest.fixture
def mixed(tmp_path):
    """Old config, new tokenizer.json: the commit that the world blamed."""
    folder = copy_of("phi3-style/before", tmp_path / "mixed")
    shutil.copy(tokenizer_path("phi3-style/after") / "tokenizer.json", folder / "tokenizer.json")
    return folder


def test_the_phi3_pair_differs_in_twelve_booleans_of_tokenizer_json(phi3):
    rows = [c for c in phi3.changes if c.file == "tokenizer.json"]
    assert len(rows) == 12
    assert all(
        isinstance(c.before, bool) and isinstance(c.after, bool) and c.kind is ChangeKind.ADDED_TOKENS for c in rows
    )


def test_the_phi3_pair_is_breaking_and_names_the_delimiters(phi3):
    assert phi3.severity is Severity.BREAKING
    assert phi3.exit_code == 1
    assert phi3.kinds == (ChangeKind.ADDED_TOKENS,)
    broken = {d.token: (d.written, d.echo_after) for d in phi3.delimiters if d.broken and d.written.endswith("\n")}
    assert broken.keys() == {"<|user|>", "<|assistant|>", "<|end|>"}
    assert broken["<|end|>"] == ("<|end|>\n", "<|end|>")
    for token in broken:
        assert token in phi3.verdict
        assert any(token in line for line in phi3.advice)


def test_every_newline_after_a_delimiter_is_lost_in_the_echo(phi3):
    explanation = phi3.explain("prompt/0")
    assert "\n" in explanation.before
    assert "\n" not in explanation.after
    row = next(r for r in phi3.drift if r.label == "prompt/0")
    assert row.after_keep < 0 < row.before_keep
    assert row.after_ids < row.before_ids


def test_an_explanation_shows_the_same_ids_as_the_tokenizers(phi3):
    explanation = phi3.explain("prompt/0")
    before, after = (
        s.view("auto")["probes"]["prompt/0"]["ids"]
        for s in (snapshot(tokenizer_path(f"phi3-style/{n}"), prompts=[PROMPT]) for n in ("before", "after"))
    )
    assert [i for row in explanation.rows for i in row.before_ids] == before
    assert [i for row in explanation.rows for i in row.after_ids] == after
    assert "<|end|>" in explanation.to_text()


def test_old_config_with_new_json_changes_raw_readers_only_and_says_so(mixed):
    c = compare_revisions(tokenizer_path("phi3-style/before"), mixed, prompts=[PROMPT])
    assert not c.probes
    assert c.severity is Severity.MAJOR_LATENT
    assert c.exit_code == 2
    rows = {row.loader: row for row in c.loaders}
    assert rows["auto"].note == "unchanged"
    assert rows["raw"].severity is Severity.BREAKING
    assert "raw loader it is BREAKING" in c.verdict
    assert "tokenizer_config.json shadows tokenizer.json in 12 flags" in " ".join(c.shadowing)
    assert any("auto and raw loaders give other ids" in line for line in c.shadowing)


def test_new_config_with_old_json_changes_the_auto_loader_only(tmp_path):
    folder = copy_of("phi3-style/before", tmp_path / "mixed")
    shutil.copy(tokenizer_path("phi3-style/after") / "tokenizer_config.json", folder / "tokenizer_config.json")
    c = compare_revisions(tokenizer_path("phi3-style/before"), folder, prompts=[PROMPT])
    rows = {row.loader: row for row in c.loaders}
    assert c.severity is Severity.BREAKING
    assert rows["raw"].note == "unchanged"
    assert rows["raw"].severity is Severity.MAJOR_LATENT


def test_the_raw_loader_can_be_the_one_the_verdict_is_about(mixed):
    c = compare_revisions(tokenizer_path("phi3-style/before"), mixed, loader="raw")
    assert c.loader == "raw"
    assert c.severity is Severity.BREAKING


def test_the_llama2_pair_is_told_as_its_prefix_scheme_with_the_drift_law():
    c = compare_revisions(tokenizer_path("llama2-style/legacy"), tokenizer_path("llama2-style/non-legacy"))
    assert c.severity is Severity.BREAKING
    assert c.kinds == (ChangeKind.PRE_TOKENIZER,)
    turns = {r.label: r for r in c.drift}
    for n in range(1, 6):
        row = turns[f"chat/turns-{n}"]
        assert (row.before_skip, row.after_skip) == (n - 1, 0)  # legacy drift = number of </s><s> borders


def test_a_tokenizer_against_itself_differs_in_nothing():
    for name in ("byte-bpe", "unigram", "wordpiece"):
        c = compare_revisions(tokenizer_path(name), tokenizer_path(name))
        assert c.severity is Severity.NONE
        assert c.findings == ()
        assert c.exit_code == 0
        assert c.advice == ()


def test_a_comparison_is_a_pure_function_of_two_snapshots(phi3):
    again = compare_revisions(
        tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"), prompts=[PROMPT], cache=False
    )
    assert json.dumps(again.to_dict(), sort_keys=True) == json.dumps(phi3.to_dict(), sort_keys=True)


def test_snapshots_read_from_files_compare_like_fresh_ones(phi3, tmp_path):
    """A file keeps its keys in another order: the report must not follow it."""
    read = [Snapshot.load(s.save(tmp_path / f"{n}.json")) for n, s in enumerate(phi3.snapshots)]
    assert [s.sha256 for s in read] == [s.sha256 for s in phi3.snapshots]
    assert compare_snapshots(*read, notes=phi3.notes) == phi3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"record": {"schema": 99}}', '{"record": {"schema": 1}}'])
def test_a_file_that_is_no_snapshot_is_told_as_that(text, tmp_path):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(RevisionCompareError, match="no snapshot"):
        Snapshot.load(tmp_path / "s.json")


def test_a_comparison_survives_json(phi3):
    assert Comparison.from_dict(json.loads(json.dumps(phi3.to_dict()))) == phi3


def test_a_comparison_read_from_json_cannot_be_explained_and_says_why(phi3):
    with pytest.raises(RevisionCompareError, match="compare again"):
        Comparison.from_dict(phi3.to_dict()).explain("prompt/0")


def test_an_unknown_probe_is_named(phi3):
    with pytest.raises(RevisionCompareError, match="no probe 'nothing'"):
        phi3.explain("nothing")


def test_snapshots_of_other_prompts_are_not_compared():
    folder = tokenizer_path("byte-bpe")
    with pytest.raises(RevisionCompareError, match="other probes"):
        compare_snapshots(snapshot(folder), snapshot(folder, prompts=["Hi"]))


def test_snapshots_without_a_common_loader_are_not_compared():
    folder = tokenizer_path("byte-bpe")
    with pytest.raises(RevisionCompareError, match="no common view"):
        compare_snapshots(snapshot(folder, "auto"), snapshot(folder, "raw"))


def test_a_folder_that_stops_loading_is_breaking(tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    c = compare_revisions(tokenizer_path("byte-bpe"), folder)
    assert c.severity is Severity.BREAKING
    assert c.after.error
    assert str(tmp_path) not in c.to_markdown()


def test_a_token_that_only_one_side_knows_is_probed_on_both(tmp_path):
    folder = copy_of("byte-bpe", tmp_path / "new")
    edit(
        "tokenizer.json",
        lambda v: v["added_tokens"].append({**v["added_tokens"][-1], "id": 5000, "content": "<|new|>"}),
    )(folder)
    c = compare_revisions(tokenizer_path("byte-bpe"), folder)
    assert any(p.label == "added/<|new|>/alone" and p.ids_differ for p in c.probes)


def test_a_stop_id_that_only_the_generation_config_changes_is_breaking(tmp_path):
    one, two = copy_of("byte-bpe", tmp_path / "one"), copy_of("byte-bpe", tmp_path / "two")
    for folder, ids in ((one, [1]), (two, [1, 2])):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    c = compare_revisions(one, two)
    assert c.severity is Severity.BREAKING
    assert c.kinds == (ChangeKind.SPECIALS,)
    assert next(s for s in c.stops if s.file == "generation_config.json").after == (1, 2)


def test_a_template_that_means_the_same_is_minor(tmp_path):
    folder = copy_of("phi3-style/before", tmp_path / "spelled")
    setting("tokenizer_config.json", "chat_template", to=lambda t: "{# Phi-3 #}" + t)(folder)
    c = compare_revisions(tokenizer_path("phi3-style/before"), folder)
    assert (c.kinds, c.severity) == ((ChangeKind.CHAT_TEMPLATE,), Severity.MINOR)


def test_a_template_that_changes_only_for_tools_is_major(tmp_path):
    folder = copy_of("phi3-style/before", tmp_path / "tools")
    setting("tokenizer_config.json", "chat_template", to=lambda t: t + "{% if tools %}{{ tools | tojson }}{% endif %}")(
        folder
    )
    c = compare_revisions(tokenizer_path("phi3-style/before"), folder)
    assert (c.kinds, c.severity) == ((ChangeKind.CHAT_TEMPLATE,), Severity.MAJOR)
    assert "tools" in c.template_variables[1]
    assert "tools" in c.template_diff


def test_other_options_of_from_pretrained_are_told_as_the_library():
    folder = tokenizer_path("llama2-style/legacy")
    one, two = snapshot(folder, "auto"), snapshot(folder, "auto", options={"add_bos_token": True})
    assert compare_snapshots(one, two).kinds[0] is ChangeKind.LIBRARY


def test_frames_hold_every_row(phi3):
    frames = phi3.frames()
    assert len(frames["changes"]) == len(phi3.changes)
    assert set(frames["findings"]["severity"]) == {"BREAKING"}
    assert len(frames["probes"]) == len(phi3.probes)


def test_a_snapshot_that_cannot_be_written_leaves_nothing(phi3, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OutputError, match="No space left"):
        phi3.snapshots[0].save(tmp_path / "s.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loader", ["nope", "sentencepiece", ["auto", "nope"]])
def test_a_snapshot_holds_what_every_asked_loader_made_of_it(loader):
    with pytest.raises(TokenizerLoadError, match="does not load with"):
        snapshot(tokenizer_path("byte-bpe"), loader)


def test_a_loader_that_loads_neither_side_leaves_the_verdict_to_the_next(tmp_path):
    """With a damaged config AutoTokenizer reads nothing; servers that read tokenizer.json alone go on."""
    folders = [copy_of("phi3-style/before", tmp_path / name) for name in "ab"]
    setting("tokenizer.json", "added_tokens", 0, "rstrip", to=True)(folders[1])
    for folder in folders:
        (folder / "tokenizer_config.json").write_text("{")
    c = compare_revisions(*folders)
    assert c.loader == "raw"
    assert c.severity is Severity.BREAKING
    assert any(note.startswith("the auto loader loads neither side") for note in c.notes)
    with pytest.raises(TokenizerLoadError):
        compare_revisions(*folders, loader="auto")


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("tokenizer.json", ("added_tokens", 0), None),
        ("tokenizer.json", ("added_tokens", 0, "content"), True),
        ("tokenizer.json", ("added_tokens", 0, "id"), None),
        ("tokenizer_config.json", ("added_tokens_decoder", "1"), [1]),
        ("tokenizer_config.json", ("added_tokens_decoder", "1"), {"content": 5}),
        ("config.json", ("eos_token_id",), {}),
        ("config.json", ("eos_token_id",), [1, []]),
        ("tokenizer_config.json", ("eos_token",), []),
        ("config.json", (), ""),
    ],
)
def test_a_damaged_file_gets_a_verdict_and_never_a_raw_error(tmp_path, file, keys, value):
    folder = copy_of("phi3-style/before", tmp_path / "t")
    document = json.loads((folder / file).read_text())
    at = document
    for key in keys[:-1]:
        at = at[key]
    if keys:
        at[keys[-1]] = value
    (folder / file).write_text(json.dumps(document if keys else value))
    comparison = compare_revisions(tokenizer_path("phi3-style/before"), folder)
    assert any(file in line for finding in comparison.findings for line in finding.evidence)
    assert comparison.to_markdown()
