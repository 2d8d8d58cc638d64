"""From what a user writes to files at a commit: folders, files, git clones, and a real client against a local hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars
from sentencepiece import SentencePieceProcessor

from chatlab.embedded import tokenizer_path
from chatlab.errors import OfflineError, RevisionError, SourceNotFound, TokenizerLoadError
from chatlab.locks.check import check, load_locked
from chatlab.locks.lock import lock
from chatlab.locks.lockfile import read_lock
from chatlab.severity import Severity
from chatlab.snapshots.snapshot import snapshot
from chatlab.testing import Fault, LocalHub
from chatlab.tokenizers.load import load_tokenizer
from chatlab.tokenizers.source import UnpinnedWarning, file_warnings, is_tokenizer_file, resolve
from tests.tokenizers.samples import gguf_fields, write_gguf

MODEL = str(tokenizer_path("llama2-style/legacy") / "tokenizer.model")
REPO = "org/tiny"
BEFORE, AFTER = (tokenizer_path(f"phi3-style/{name}") for name in ("before", "after"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "chatlab"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    disable_progress_bars()
    waits = time.sleep
    # The client waits seconds between tries; our own server's waits stay.
    monkeypatch.setattr(time, "sleep", lambda seconds: waits(min(seconds, 0.3)))


@pytest.fixture
def hub():
    with LocalHub() as local:
        yield local


@pytest.fixture
def story(hub):
    """Two commits as in May 2024, weights that must not be fetched, a tag, a branch."""
    first = hub.commit(REPO, {**files_of(BEFORE), "model.safetensors": b"w" * 100, "README.md": "hi"}, "initial")
    second = hub.commit(REPO, {"tokenizer_config.json": files_of(AFTER)["tokenizer_config.json"]}, "Adjusts rstrip")
    third = hub.commit(REPO, {"tokenizer.json": files_of(AFTER)["tokenizer.json"]}, "fix(tokenizer)")
    hub.tag(REPO, "v1", first)
    hub.repositories[REPO].branches["dev"] = second
    return first, second, third


# -- the hub -------------------------------------------------------------------------------------------------


def test_a_commit_is_pinned_without_a_warning(hub, story):
    source = resolve(f"{REPO}@{story[0]}", endpoint=hub.endpoint)
    assert (source.kind, source.repo_id, source.revision) == ("hub", REPO, story[0])
    assert source.pinned
    assert source.warnings == ()
    assert {name: (source.folder / name).read_bytes() for name in files_of(BEFORE)} == files_of(BEFORE)


@pytest.mark.parametrize(("name", "index"), [("main", 2), ("dev", 1), ("v1", 0)])
def test_a_branch_or_tag_becomes_a_commit_and_a_warning_names_it(hub, story, name, index):
    source = resolve(REPO, name, endpoint=hub.endpoint)
    assert source.revision == story[index]
    assert source.requested == name
    assert not source.pinned
    assert story[index] in source.warnings[0]


def test_without_a_revision_the_main_branch_is_warned_about(hub, story):
    source = resolve(REPO, endpoint=hub.endpoint)
    assert (source.requested, source.revision) == ("main", story[2])
    assert "can move" in source.warnings[0]


def test_weights_and_readmes_are_not_fetched_and_config_json_is(hub, story):
    resolve(REPO, story[0], endpoint=hub.endpoint)
    fetched = {r.split("/")[-1] for r in hub.requests if r.startswith("GET") and "/resolve/" in r}
    assert fetched == set(files_of(BEFORE))
    assert "config.json" in fetched


def test_a_second_resolve_of_a_commit_asks_nothing(hub, story):
    resolve(REPO, story[0], endpoint=hub.endpoint)
    hub.requests.clear()
    resolve(REPO, story[0], endpoint=hub.endpoint)
    assert hub.requests == []


def test_a_blob_that_did_not_change_is_not_fetched_again(hub, story):
    resolve(REPO, story[0], endpoint=hub.endpoint)
    hub.requests.clear()
    resolve(REPO, story[1], endpoint=hub.endpoint)
    assert [r for r in hub.requests if r.startswith("GET") and "/resolve/" in r] == [
        f"GET /{REPO}/resolve/{story[1]}/tokenizer_config.json"
    ]


@pytest.mark.parametrize("length", [7, 12, 39])
def test_a_shortened_commit_is_refused(hub, story, length):
    with pytest.raises(RevisionError, match="shortened"):
        resolve(REPO, story[0][:length], endpoint=hub.endpoint)


def test_a_tag_that_looks_like_a_shortened_commit_is_a_tag(hub, story):
    hub.tag(REPO, "2024", story[1])
    assert resolve(REPO, "2024", endpoint=hub.endpoint).revision == story[1]


@pytest.mark.parametrize("revision", ["nope", "0" * 40])
def test_an_absent_revision_is_named(hub, story, revision):
    with pytest.raises(RevisionError, match=f"no revision '{revision}'"):
        resolve(REPO, revision, endpoint=hub.endpoint)


def test_a_commit_that_a_force_push_took_away_is_told_as_that(hub, story):
    hub.forget(REPO, story[0])
    with pytest.raises(RevisionError, match="force push"):
        resolve(REPO, story[0], endpoint=hub.endpoint)


@pytest.mark.parametrize("revision", ["../../x", "a/../b", "-x", "", "a b", "a/", "x\n"])
def test_a_malformed_revision_never_leaves_this_machine(hub, story, revision):
    with pytest.raises(RevisionError):
        resolve(REPO, revision, endpoint=hub.endpoint)
    assert hub.requests == []


def test_an_absent_repository_is_named(hub):
    with pytest.raises(SourceNotFound, match="org/none"):
        resolve("org/none", endpoint=hub.endpoint)


def test_a_repository_without_tokenizer_files_is_told_as_that(hub):
    commit = hub.commit("org/weights", {"model.safetensors": b"w"}, "weights only")
    with pytest.raises(SourceNotFound, match="no tokenizer file"):
        resolve("org/weights", commit, endpoint=hub.endpoint)


def test_a_damaged_file_is_refused_and_removed(hub, story):
    hub.faults.append(Fault("GET .*/tokenizer.json", "damaged"))
    with pytest.raises(TokenizerLoadError, match="damaged"):
        resolve(REPO, story[0], endpoint=hub.endpoint)
    hub.faults.clear()
    source = resolve(REPO, story[0], endpoint=hub.endpoint)
    assert (source.folder / "tokenizer.json").read_bytes() == files_of(BEFORE)["tokenizer.json"]


def test_a_cut_body_is_never_taken_for_the_file(hub, story):
    hub.faults.append(Fault("GET .*/tokenizer.json", "cut"))
    with pytest.raises(TokenizerLoadError, match="could not be fetched whole"):
        resolve(REPO, story[0], endpoint=hub.endpoint)
    hub.faults.clear()
    source = resolve(REPO, story[0], endpoint=hub.endpoint)
    assert (source.folder / "tokenizer.json").read_bytes() == files_of(BEFORE)["tokenizer.json"]


def test_too_many_requests_is_told_as_that(hub, story):
    hub.faults.append(Fault("GET /api/models/.*/tree", "429"))
    with pytest.raises(TokenizerLoadError, match="429"):
        resolve(REPO, story[0], endpoint=hub.endpoint)


def test_a_slow_answer_is_waited_for(hub, story):
    hub.faults.append(Fault("GET .*/config.json", "slow", seconds=0.3))
    assert resolve(REPO, story[0], endpoint=hub.endpoint).revision == story[0]


def test_an_lfs_file_is_checked_by_its_sha256(hub):
    files = files_of(tokenizer_path("llama2-style/legacy"))
    commit = hub.commit("org/llama", files, "with a .model")
    source = resolve("org/llama", commit, endpoint=hub.endpoint)
    assert (source.folder / "tokenizer.model").read_bytes() == files["tokenizer.model"]


@pytest.mark.parametrize("name", ["commit", "main", "v1"])
def test_offline_the_cache_answers_for_commit_branch_and_tag(hub, story, name):
    index = {"commit": 0, "main": 2, "v1": 0}[name]
    revision = story[0] if name == "commit" else name
    resolve(REPO, revision, endpoint=hub.endpoint)
    hub.requests.clear()
    source = resolve(REPO, revision, endpoint=hub.endpoint, offline=True)
    assert source.revision == story[index]
    assert hub.requests == []


@pytest.mark.parametrize("revision", ["main", "v1", "f" * 40])
def test_offline_without_a_copy_is_told_with_the_way_out(hub, story, revision):
    with pytest.raises(OfflineError, match="hf download org/tiny"):
        resolve(REPO, revision, endpoint=hub.endpoint, offline=True)
    assert hub.requests == []


def test_offline_with_a_file_missing_is_no_smaller_tokenizer(hub, story):
    source = resolve(REPO, story[0], endpoint=hub.endpoint)
    (source.folder / "tokenizer_config.json").unlink()
    with pytest.raises(OfflineError):
        resolve(REPO, story[0], endpoint=hub.endpoint, offline=True)


def test_a_hub_that_does_not_answer_is_told_as_offline():
    with LocalHub() as gone:
        endpoint = gone.endpoint
    with pytest.raises(OfflineError):
        resolve(REPO, "f" * 40, endpoint=endpoint)


def test_code_in_another_repository_is_warned_about(hub):
    config = '{"auto_map": {"AutoTokenizer": ["other/code--tok.Tok", null]}}'
    commit = hub.commit("org/remote", {"tokenizer_config.json": config, "config.json": "{}"}, "remote code")
    source = resolve("org/remote", commit, endpoint=hub.endpoint)
    assert any("other/code" in warning and "code_revision" in warning for warning in source.warnings)


# -- folders, files, clones ----------------------------------------------------------------------------------


def test_a_folder_is_itself():
    source = resolve(BEFORE)
    assert (source.kind, source.folder, source.revision) == ("folder", BEFORE, None)
    assert source.name == "phi3-style/before"


def test_an_absent_config_json_is_warned_about():
    assert any("config.json" in w for w in file_warnings(tokenizer_path("byte-bpe")))
    assert file_warnings(BEFORE) == []


def test_a_single_file_counts_alone():
    source = resolve(BEFORE / "tokenizer.json")
    assert source.kind == "file"
    assert [p.name for p in source.folder.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("spec", ["no/such/folder/here", "nothing.json", "./nowhere", "a b"])
def test_nothing_there_is_told_as_that(spec):
    with pytest.raises(SourceNotFound):
        resolve(spec)


def test_a_folder_without_tokenizer_files_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("hi")
    with pytest.raises(SourceNotFound, match="no tokenizer file"):
        resolve(tmp_path)


def git(folder: Path, *arguments: str) -> str:
    env = {
        **os.environ,
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, env=env
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commits = []
    for source, title in ((BEFORE, "initial"), (AFTER, "fix")):
        for name, data in files_of(source).items():
            (folder / name).write_bytes(data)
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", title)
        commits.append(git(folder, "rev-parse", "HEAD"))
    git(folder, "tag", "v1", commits[0])
    return folder, commits


def test_a_clone_gives_the_files_of_a_commit_and_keeps_its_work_tree(clone):
    folder, commits = clone
    source = resolve(f"{folder}@{commits[0]}")
    assert (source.kind, source.revision) == ("git", commits[0])
    assert files_of(source.folder) == files_of(BEFORE)
    assert (folder / "tokenizer.json").read_bytes() == files_of(AFTER)["tokenizer.json"]
    assert git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["main", "v1", "HEAD"])
def test_a_name_in_a_clone_becomes_a_commit_and_a_warning(clone, name):
    folder, commits = clone
    source = resolve(folder, name)
    assert source.revision == commits[0 if name == "v1" else 1]
    assert "can move" in source.warnings[0]


@pytest.mark.parametrize("revision", ["nope", "0" * 40, "abcdef1"])
def test_an_absent_or_shortened_revision_of_a_clone_is_refused(clone, revision):
    with pytest.raises(RevisionError, match=re.escape(revision)):
        resolve(clone[0], revision)


def test_a_revision_of_one_file_asks_for_its_folder(clone):
    folder, commits = clone
    with pytest.raises(RevisionError, match=f"give {re.escape(str(folder))}@v1"):
        resolve(folder / "tokenizer.json", "v1")


def test_a_folder_that_is_no_clone_has_no_revisions(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RevisionError, match="no git clone"):
        resolve(tmp_path, "main")


def test_a_folder_inside_a_clone_is_found_at_its_commit(clone):
    folder, _ = clone
    (folder / "sub").mkdir()
    for name, data in files_of(BEFORE).items():
        (folder / "sub" / name).write_bytes(data)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "sub")
    source = resolve(folder / "sub", git(folder, "rev-parse", "HEAD"))
    assert files_of(source.folder) == files_of(BEFORE)


def test_an_lfs_pointer_whose_file_was_never_fetched_is_told_as_that(clone):
    folder, _ = clone
    (folder / "tokenizer.model").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n"
    )
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "pointer")
    with pytest.raises(TokenizerLoadError, match="git lfs fetch"):
        resolve(folder, "main")


def test_tokenizer_files_are_told_from_others():
    yes = [
        "tokenizer.json",
        "config.json",
        "spiece.model",
        "chat_template.jinja",
        "additional_chat_templates/rag.jinja",
        "tok.py",
        "qwen.tiktoken",
    ]
    no = ["model.safetensors", "README.md", "onnx/tokenizer.json", "pytorch_model.bin", ".gitattributes"]
    assert all(map(is_tokenizer_file, yes))
    assert not any(map(is_tokenizer_file, no))


# -- load_tokenizer ------------------------------------------------------------------------------------------


@pytest.fixture
def as_the_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    return hub


def test_load_tokenizer_loads_the_files_of_the_commit(as_the_hub, story):
    text = "<|user|>\nHi<|end|>\n"
    old, new = (load_tokenizer(REPO, commit) for commit in (story[0], story[2]))
    assert (old.source.revision, old.name) == (story[0], REPO)
    assert old.encode_spans(text).token_ids == load_tokenizer(BEFORE).encode_spans(text).token_ids
    assert new.encode_spans(text).token_ids == load_tokenizer(AFTER).encode_spans(text).token_ids
    assert old.encode_spans(text).token_ids != new.encode_spans(text).token_ids


def test_a_class_that_transformers_chooses_by_the_name_is_kept(as_the_hub, monkeypatch):
    """AutoTokenizer looks at the hub id; loaded from a folder alone the tokenizer would be of another class."""
    from chatlab.tokenizers import readers

    classes, real = [], readers.of_transformers
    monkeypatch.setattr(
        readers, "of_transformers", lambda t, name=None: classes.append(type(t).__name__) or real(t, name)
    )
    name, folder = "deepseek-ai/deepseek-coder-tiny", tokenizer_path("llama2-style/legacy")
    commit = as_the_hub.commit(name, files_of(folder), "named")
    load_tokenizer(name, commit)
    load_tokenizer(folder)
    assert classes == ["TokenizersBackend", "LlamaTokenizer"]


def test_load_tokenizer_warns_of_a_branch_and_names_the_commit(as_the_hub, story):
    with pytest.warns(UnpinnedWarning, match=story[2]):
        tokenizer = load_tokenizer(REPO)
    assert tokenizer.source.revision == story[2]


def test_a_branch_that_moves_while_loading_changes_nothing(as_the_hub, story, monkeypatch):
    """The branch is asked once; every file then comes from that commit."""
    from chatlab.tokenizers import hub as access

    real = access.Hub.download

    def moved(self, commit, wanted):
        as_the_hub.commit(REPO, {"tokenizer.json": "{}"}, "moved meanwhile")
        return real(self, commit, wanted)

    monkeypatch.setattr(access.Hub, "download", moved)
    with pytest.warns(UnpinnedWarning):
        tokenizer = load_tokenizer(REPO, "main")
    assert tokenizer.source.revision == story[2]
    assert (tokenizer.source.folder / "tokenizer.json").read_bytes() == files_of(AFTER)["tokenizer.json"]


def test_load_tokenizer_reads_a_clone_at_a_commit(clone):
    folder, commits = clone
    tokenizer = load_tokenizer(f"{folder}@{commits[0]}")
    assert tokenizer.source.revision == commits[0]
    assert tokenizer.encode_spans("<|end|>\n").token_ids == load_tokenizer(BEFORE).encode_spans("<|end|>\n").token_ids


def test_foreign_code_runs_only_at_a_pinned_commit(tmp_path):
    for name, data in files_of(BEFORE).items():
        (tmp_path / name).write_bytes(data)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "auto_map": {"AutoTokenizer": ["other/code--t.T", None]}})
    )
    with pytest.raises(RevisionError, match="code_revision"):
        load_tokenizer(tmp_path, trust_remote_code=True, code_revision="main")


def test_real_transformers_loads_from_the_local_hub_by_id(hub, story, tmp_path):
    """AutoTokenizer itself, in a process of its own, as a user's program would: commit, tag, branch, then offline."""
    program = """
import sys
from transformers import AutoTokenizer
for revision in sys.argv[1:]:
    print(len(AutoTokenizer.from_pretrained("org/tiny", revision=revision)("<|user|>\\nHi<|end|>\\n").input_ids))
"""
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    arguments = [sys.executable, "-c", program, story[0], "v1", "main"]
    online = subprocess.run(arguments, env=env, capture_output=True, text=True, check=True).stdout.split()
    assert online[0] == online[1] != online[2]
    hub.requests.clear()
    offline = subprocess.run(
        arguments, env={**env, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=True
    ).stdout.split()
    assert offline == online
    assert hub.requests == []


# -- GGUF ----------------------------------------------------------------------------------------------------


@pytest.fixture
def gguf(tmp_path):
    return write_gguf(tmp_path / "tiny.gguf", gguf_fields(SentencePieceProcessor(model_file=MODEL)))


def test_the_vocabulary_of_a_gguf_file_is_read(gguf):
    tokenizer = load_tokenizer(gguf)
    assert tokenizer.source.kind == "gguf"
    text = "Hello there, x = [1, 2]"
    reference = SentencePieceProcessor(model_file=MODEL)
    assert tokenizer.encode_spans(text).token_ids == reference.encode(text)
    assert tokenizer.decode(tokenizer.encode_spans(text).token_ids) == text


def test_a_gguf_file_has_a_snapshot(gguf):
    taken = snapshot(gguf, cache=False)
    assert "error" not in taken.view("auto")
    assert list(taken.record["files"]) == ["model.gguf"]


@pytest.mark.parametrize("vendor", [False, True])
def test_a_gguf_file_can_be_locked_and_its_change_is_seen(gguf, vendor):
    path = gguf.parent / "chatlab.lock"
    lock("tiny", gguf, path=path, vendor=vendor)
    (result,) = check(path=path)
    assert result.severity is Severity.NONE
    assert not result.error
    assert load_locked("tiny", path=path).encode("Hello there") == load_tokenizer(gguf).encode("Hello there")
    locked = path.parent / read_lock(path)["tiny"].place / "model.gguf" if vendor else gguf
    locked.write_bytes(locked.read_bytes().replace("▁the".encode(), "▁teh".encode()))
    (result,) = check(path=path)
    assert result.severity is Severity.MAJOR


def test_a_file_that_only_calls_itself_gguf_is_told_as_that(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"GGUX" + bytes(100))
    with pytest.raises(TokenizerLoadError, match=r"no\.gguf"):
        load_tokenizer(tmp_path / "no.gguf")
