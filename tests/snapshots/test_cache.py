"""Kept results: found again, never half, never trusted when damaged, never in the way."""

from __future__ import annotations

import os

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.snapshots import cache as module
from chatlab.snapshots.cache import Cache
from chatlab.snapshots.snapshot import snapshot


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path))
    return Cache("things")


def test_what_was_put_is_got(cache):
    cache.put("a", {"x": [1, "\ud800"]})
    assert cache.get("a") == {"x": [1, "\ud800"]}
    assert cache.get("b") is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\x00"])
def test_a_damaged_entry_counts_as_absent(cache, data):
    cache.put("a", {})
    cache.path("a").write_bytes(data)
    assert cache.get("a") is None


def test_a_disk_that_cannot_be_written_costs_the_reuse_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "file"))
    Cache("things").put("a", {})
    assert snapshot(tokenizer_path("byte-bpe")).loaders == ("auto", "raw")


def test_a_write_that_fails_leaves_no_part(cache, monkeypatch):
    cache.put("a", {})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put("b", {})
    assert [p.name for p in cache.folder.iterdir()] == ["a.json"]


def test_the_least_recently_used_goes_first(cache, monkeypatch):
    monkeypatch.setattr(module, "LIMIT_BYTES", 60)
    for number, name in enumerate(("a", "b")):
        cache.put(name, {"x": "y" * 15})
        os.utime(cache.path(name), (number, number))
    assert cache.get("a") is not None  # used again, so b is the older one now
    cache.put("c", {"x": "y" * 15})
    assert [cache.get(name) is not None for name in ("a", "b", "c")] == [True, False, True]


def test_a_cached_snapshot_is_the_fresh_one(cache):
    folder = tokenizer_path("phi3-style/before")
    fresh, kept = snapshot(folder), snapshot(folder)
    assert kept.to_json() == fresh.to_json() == snapshot(folder, cache=False).to_json()


def test_other_prompts_options_or_files_are_other_entries(cache, tmp_path):
    folder = tokenizer_path("byte-bpe")
    taken = [
        snapshot(folder),
        snapshot(folder, prompts=["x"]),
        snapshot(folder, "raw"),
        snapshot(folder, options={"add_prefix_space": True}),
    ]
    assert len(list((tmp_path / "snapshots").iterdir())) == len(taken)
