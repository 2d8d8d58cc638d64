"""Locks: what is written is what was tested, and nothing unsafe is read from one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError, LockError, OutputError, TokenizerLoadError
from chatlab.locks.check import check, load_locked
from chatlab.locks.lock import lock
from chatlab.locks.lockfile import Entry, inside, read_lock, write_lock
from chatlab.revisions.compare import compare_revisions
from chatlab.severity import Severity
from chatlab.snapshots import recorder
from tests.support.injections import byte_only, copy_of, edit, injections, respell_merges, setting
from tests.support.sample import sample


@pytest.fixture
def root(tmp_path):
    copy_of("phi3-style/before", tmp_path / "phi3")
    return tmp_path


@pytest.fixture
def locked(root):
    lock("phi3", root / "phi3", path=root / "chatlab.lock", prompts=["<|user|>\nHi<|end|>\n"])
    return root


def use_after(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_path("phi3-style/after") / name, folder / name)


def test_a_lock_is_readable_and_names_no_place_of_this_machine(locked):
    text = (locked / "chatlab.lock").read_text()
    entry = json.loads(text)["entries"]["phi3"]
    assert entry["place"] == "phi3"
    assert str(locked) not in text
    assert set(entry["files"]) == {"tokenizer.json", "tokenizer_config.json", "config.json"}
    assert len(entry["golden"]["examples"]) == 10
    assert "<|user|>" in next(iter(entry["golden"]["examples"].values()))["echo"]
    assert {"vocab", "merges", "normalizer", "added_tokens", "template", "renders_plain", "stop_ids", "class"} <= set(
        entry["components"]
    )


def test_locking_the_same_again_writes_the_same_bytes(locked):
    first = (locked / "chatlab.lock").read_bytes()
    (locked / "chatlab.lock").unlink()
    lock("phi3", locked / "phi3", path=locked / "chatlab.lock", prompts=["<|user|>\nHi<|end|>\n"])
    assert (locked / "chatlab.lock").read_bytes() == first


def test_an_unchanged_lock_checks_clean(locked):
    (result,) = check(path=locked / "chatlab.lock")
    assert (result.severity, result.lines, result.error, result.exit_code) == (Severity.NONE, (), None, 0)


def test_the_phi3_change_is_breaking_named_and_explained(locked):
    use_after(locked / "phi3")
    (result,) = check(path=locked / "chatlab.lock")
    assert result.exit_code == 1
    assert "added tokens differs" in result.lines
    assert any("came back as" in line and "<|end|>" in line for line in result.lines)
    assert result.comparison is not None
    assert "<|end|>" in result.comparison.verdict


def test_without_the_kept_snapshot_the_parts_are_still_named(locked, monkeypatch, tmp_path):
    use_after(locked / "phi3")
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "another machine"))
    (result,) = check(path=locked / "chatlab.lock")
    assert result.comparison is None
    assert result.exit_code == 1
    assert "ids of chat probes differ" in result.lines


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (edit("tokenizer.json", respell_merges), Severity.INFO),
        (setting("tokenizer_config.json", "model_max_length", to=9), Severity.MINOR),
        (
            setting("tokenizer.json", "added_tokens", 0, "rstrip", to=True),
            Severity.MAJOR_LATENT,
        ),  # the config has the last word, but not for readers of the other file
        (setting("config.json", "eos_token_id", to=5), Severity.BREAKING),
        (
            setting("tokenizer_config.json", "chat_template", to=lambda t: t + "{% if tools %}T{% endif %}"),
            Severity.MAJOR,
        ),
        (setting("tokenizer_config.json", "chat_template", to=lambda t: "Hi " + t), Severity.BREAKING),
    ],
)
def test_a_check_weighs_a_change_as_a_comparison_does(locked, change, severity):
    change(locked / "phi3")
    (result,) = check(path=locked / "chatlab.lock")
    assert result.severity is severity


TELLING = {
    "appears",
    "end",
    "contradicted",
    "in-one-file-alone",
    "named-comes",
    "of-a-processor",
    "map-contradicts",
    "unseen",
}
"""Changes whose weight hangs on more than the hash of one part."""


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in (
            *sample(list(injections()), 1),
            *(case for case in injections() if case.name in TELLING),
            *sample(list(byte_only()), 1),
        )
        if case.base == "phi3-style/before"
    ],
    ids=lambda c: c.label,
)
def test_a_check_exits_as_the_comparison_does(case, locked, monkeypatch, tmp_path):
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "another machine"))
    case.apply(locked / "phi3")
    comparison = compare_revisions(tokenizer_path(case.base), locked / "phi3", loader="auto")
    assert check(path=locked / "chatlab.lock").exit_code == comparison.exit_code


def test_a_template_that_moves_to_its_own_file_is_only_told(locked):
    config = json.loads((locked / "phi3" / "tokenizer_config.json").read_text())
    (locked / "phi3" / "chat_template.jinja").write_text(config.pop("chat_template"))
    (locked / "phi3" / "tokenizer_config.json").write_text(json.dumps(config))
    (result,) = check(path=locked / "chatlab.lock")
    assert result.severity is Severity.INFO


def test_another_library_version_that_does_the_same_is_only_told(locked, monkeypatch):
    monkeypatch.setattr(
        recorder, "library_versions", lambda: {**dict(recorder._installed_versions()), "transformers": "6.0.0"}
    )
    (result,) = check(path=locked / "chatlab.lock")
    assert result.exit_code == 0
    assert any(line.startswith("transformers:") and "6.0.0" in line for line in result.lines)


def test_files_that_are_gone_give_no_verdict(locked):
    shutil.rmtree(locked / "phi3")
    (result,) = check(path=locked / "chatlab.lock")
    assert result.exit_code == 3
    assert "phi3" in result.error


def test_an_update_keeps_a_note_of_what_changed(locked):
    use_after(locked / "phi3")
    entry = lock("phi3", path=locked / "chatlab.lock", update=True)
    assert entry.prompts == ("<|user|>\nHi<|end|>\n",)
    assert entry.history[0]["severity"] == "BREAKING"
    assert "added tokens differs" in entry.history[0]["changed"]
    assert check(path=locked / "chatlab.lock")[0].severity is Severity.NONE


def test_a_locked_alias_is_not_overwritten_unasked(locked):
    with pytest.raises(LockError, match="--update"):
        lock("phi3", locked / "phi3", path=locked / "chatlab.lock")


def test_a_folder_outside_is_refused_and_vendored_on_request(root, tmp_path_factory):
    outside = copy_of("byte-bpe", tmp_path_factory.mktemp("outside") / "t")
    with pytest.raises(LockError, match="--vendor"):
        lock("bpe", outside, path=root / "chatlab.lock")
    assert not (root / "chatlab.lock").exists()
    entry = lock("bpe", outside, path=root / "chatlab.lock", vendor=True)
    assert re.fullmatch(r"chatlab\.lock\.d/bpe-[0-9a-f]{12}", entry.place)
    shutil.rmtree(outside)
    assert check(path=root / "chatlab.lock")[0].exit_code == 0


def test_an_update_that_fails_leaves_the_vendored_copy_of_what_is_locked(root, tmp_path_factory):
    outside = copy_of("byte-bpe", tmp_path_factory.mktemp("outside") / "t")
    lock("bpe", outside, path=root / "chatlab.lock", vendor=True)
    (outside / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerLoadError):
        lock("bpe", outside, path=root / "chatlab.lock", vendor=True, update=True)
    assert check(path=root / "chatlab.lock")[0].word == "as locked"


def test_the_tokenizer_role_is_the_commit_of_the_files_that_are_locked(root):
    def commit(title):
        subprocess.run(["git", "-C", str(root / "phi3"), "add", "."], check=True)
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(root / "phi3"), *names, "commit", "-q", "-m", title], check=True)
        head = ["git", "-C", str(root / "phi3"), "rev-parse", "HEAD"]
        return subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()

    subprocess.run(["git", "init", "-q", "-b", "main", str(root / "phi3")], check=True)
    path, commits = root / "chatlab.lock", [commit("before")]
    first = lock("phi3", root / "phi3", revision="main", path=path, roles={"weights": "org/model@" + "a" * 40})
    use_after(root / "phi3")
    commits.append(commit("after"))
    second = lock("phi3", path=path, update=True)
    vendored = lock("copy", root / "phi3", revision=commits[0], path=path, vendor=True)
    again = lock("copy", path=path, update=True)
    told = [entry.roles["tokenizer"].rpartition("@")[2] for entry in (first, second, vendored, again)]
    assert told == [*commits, commits[0], commits[0]]
    assert second.roles["weights"] == "org/model@" + "a" * 40
    assert [result.word for result in check(path=path)] == ["as locked", "as locked"]


def test_load_locked_loads_only_the_bytes_that_were_locked(locked):
    tokenizer = load_locked("phi3", path=locked / "chatlab.lock")
    assert tokenizer.encode_spans("<|user|>").token_ids
    (locked / "phi3" / "tokenizer.json").write_bytes((locked / "phi3" / "tokenizer.json").read_bytes() + b"\n")
    with pytest.raises(LockError, match=r"tokenizer\.json"):
        load_locked("phi3", path=locked / "chatlab.lock")


@pytest.mark.parametrize(
    ("base", "loader", "options"),
    [
        ("phi3-style/before", "auto", {}),
        ("phi3-style/before", "raw", {}),
        ("phi3-style/before", "PreTrainedTokenizerFast", {}),
        ("llama2-style/non-legacy", "auto", {"legacy": True}),
        ("llama2-style/non-legacy", "auto", {"add_bos_token": True}),
    ],
)
def test_load_locked_gives_the_ids_that_were_locked(tmp_path, base, loader, options):
    copy_of(base, tmp_path / "t")
    # Here the two files disagree, so that the loaders do.
    setting("tokenizer.json", "added_tokens", -1, "rstrip", to=True)(tmp_path / "t")
    entry = lock("t", tmp_path / "t", path=tmp_path / "chatlab.lock", loader=loader, options=options)
    tokenizer = load_locked("t", path=tmp_path / "chatlab.lock")
    for example in entry.golden["examples"].values():
        assert list(tokenizer.encode_spans(example["text"]).token_ids) == example["ids"]


# -- what comes from a stranger ------------------------------------------------------------------------------


def damaged(root, change):
    path = root / "chatlab.lock"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def set_golden(part, value):
    return lambda entry: entry["golden"].update({part: value})


def first_of(part, **values):
    return lambda entry: next(iter(entry["golden"][part].values())).update(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_golden("families", {}), "ids of chat probes are not in the lock"),
        (lambda entry: entry["golden"]["families"].pop("added"), "ids of added probes are not in the lock"),
        (set_golden("drift", {}), "drift of"),
        (first_of("drift", kept=99), "drift of 1 prompts differs, of chat/"),
        (set_golden("examples", {}), "came back as None, now as"),
        (first_of("examples", ids=[1, 2]), "came back as"),
        (first_of("examples", echo="edited"), "came back as edited, now as"),
        (lambda entry: entry["prompts"].append("one more"), "ids of prompt probes differ"),
        (lambda entry: entry.update(prompts=[]), "ids of prompt probes differ"),
        (lambda entry: entry.update(components={}), "vocab differs"),
    ],
)
def test_an_edit_of_what_was_tested_is_seen(locked, change, told):
    """Nobody tested what an edited lock says, so it is never "as locked"."""
    path = damaged(locked, lambda d: change(d["entries"]["phi3"]))
    (result,) = check(path=path)
    assert result.exit_code in (1, 2)
    assert any(told in line for line in result.lines), result.lines


def test_prompts_added_to_a_lock_without_any_are_seen(root):
    lock("phi3", root / "phi3", path=root / "chatlab.lock")
    path = damaged(root, lambda d: d["entries"]["phi3"].update(prompts=["x"]))
    (result,) = check(path=path)
    assert result.exit_code == 1
    assert "ids of prompt probes are not in the lock" in result.lines


def test_an_entry_with_a_loader_that_is_none_fails_alone(locked):
    lock("other", locked / "phi3", path=locked / "chatlab.lock")
    path = damaged(locked, lambda d: d["entries"]["other"].update(loader="XTokenizerX"))
    other, phi3 = check(path=path)
    assert (phi3.alias, phi3.exit_code) == ("phi3", 0)
    assert other.exit_code == 1
    assert "'XTokenizerX' is no loader" in other.lines[0]


@pytest.mark.parametrize("place", ["a\0b", "a" * 5000, "\ud800"])
def test_a_path_that_no_system_has_fails_its_entry(locked, place):
    lock("other", locked / "phi3", path=locked / "chatlab.lock")
    path = damaged(locked, lambda d: d["entries"]["other"].update(place=place))
    other, phi3 = check(path=path)
    assert (other.exit_code, phi3.exit_code) == (3, 0)
    assert other.error


@pytest.mark.parametrize("value", ["../../../../etc/passwd", "", "0" * 63])
def test_a_snapshot_hash_that_is_a_path_is_refused(locked, value):
    path = damaged(locked, lambda d: d["entries"]["phi3"].update(snapshot_sha256=value))
    with pytest.raises(LockError, match="no sha256"):
        check(path=path)


@pytest.mark.parametrize("roles", [{"weights": 5}, {"weights": None}])
def test_roles_that_could_not_be_read_again_are_not_written(root, roles):
    with pytest.raises(LockError, match="role"):
        lock("phi3", root / "phi3", path=root / "chatlab.lock", roles=roles)
    assert not (root / "chatlab.lock").exists()


@pytest.mark.parametrize("place", ["/etc", "../x", "a/../../x", "..", "a\\..\\b"])
def test_a_path_that_leaves_the_root_is_refused(locked, place):
    path = damaged(locked, lambda d: d["entries"]["phi3"].update(place=place))
    (result,) = check(path=path)
    assert result.exit_code == 3
    assert "leaves the folder" in result.error


def test_a_link_that_leaves_the_root_is_refused(locked, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    os.symlink(outside, locked / "link")
    with pytest.raises(LockError, match="leaves"):
        inside(locked, "link")


@pytest.mark.parametrize("revision", ["../../x", "main", "abc1234", "A" * 40, None])
def test_a_revision_that_is_no_commit_is_refused(locked, revision):
    path = damaged(locked, lambda d: d["entries"]["phi3"].update(kind="hub", place="org/x", revision=revision))
    with pytest.raises(LockError, match="no commit"):
        check(path=path)


@pytest.mark.parametrize("options", [{"trust_remote_code": True}, {"cache_dir": "/tmp"}, {"legacy": [1]}])
def test_options_that_could_run_or_fetch_something_are_refused(locked, options):
    path = damaged(locked, lambda d: d["entries"]["phi3"].update(options=options))
    with pytest.raises(LockError):
        check(path=path)


@pytest.mark.parametrize("loader", ["pipeline", "AutoModel", "", "os.system"])
def test_a_loader_that_is_no_tokenizer_is_refused(locked, loader):
    path = damaged(locked, lambda d: d["entries"]["phi3"].update(loader=loader))
    with pytest.raises(LockError, match="no loader"):
        check(path=path)


@pytest.mark.parametrize("alias", ["../x", "a/b", "", ".x", "a b", "x" * 65])
def test_an_alias_that_is_no_file_name_is_refused(root, alias):
    with pytest.raises(LockError, match="no alias"):
        lock(alias, root / "phi3", path=root / "chatlab.lock")


def test_a_newer_schema_asks_for_a_newer_chatlab(locked):
    path = damaged(locked, lambda d: d.update(schema=99))
    with pytest.raises(LockError, match="update chatlab"):
        check(path=path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 1}',
        '{"schema": 1, "entries": {"x": 3}}',
        '{"schema": 1, "entries": {"x": {}}}',
        "\x00",
        "[" * 100_000,
    ],
)
def test_a_damaged_lock_is_told_as_that(root, text):
    (root / "chatlab.lock").write_text(text)
    with pytest.raises(LockError):
        check(path=root / "chatlab.lock")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(field=st.sampled_from(sorted(set(Entry.__dataclass_fields__) - {"alias"})), value=json_values)
def test_no_value_in_any_field_of_a_lock_is_more_than_a_typed_error(field, value, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "fuzz"
    if not root.exists():
        root.mkdir()
        copy_of("wordpiece", root / "t")
        lock("t", root / "t", path=root / "chatlab.lock")
        shutil.copy(root / "chatlab.lock", root / "good.lock")
    shutil.copy(root / "good.lock", root / "chatlab.lock")
    path = damaged(root, lambda d: d["entries"]["t"].update({field: value}))
    try:
        for result in check(path=path):
            assert result.exit_code in (0, 1, 2, 3)
    except ChatlabError:
        pass


def test_a_write_that_fails_leaves_the_old_lock_and_no_litter(locked, monkeypatch):
    before = (locked / "chatlab.lock").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_lock(locked / "chatlab.lock", read_lock(locked / "chatlab.lock"))
    assert (locked / "chatlab.lock").read_bytes() == before
    assert [p.name for p in locked.iterdir() if p.name.startswith(".")] == []


def test_no_lock_at_all_says_how_to_begin(tmp_path):
    with pytest.raises(LockError, match="chatlab lock"):
        check(path=tmp_path / "chatlab.lock")


pytest_plugins = ["pytester"]


def test_the_pytest_fixture_gives_the_locked_tokenizer(locked, pytester):
    pytester.makeconftest('pytest_plugins = ["chatlab.locks.pytest_plugin"]')
    pytester.makepyfile(
        """
        def test_locked(locked_tokenizer):
            tokenizer = locked_tokenizer("phi3")
            assert tokenizer is locked_tokenizer("phi3")
            assert tokenizer.encode_spans("<|end|>").token_ids
        """
    )
    result = pytester.runpytest_inprocess(f"--chatlab-lock={locked / 'chatlab.lock'}", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
