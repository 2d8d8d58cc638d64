"""How long a verdict takes, after imports: comparing, checking, a matrix of library versions; each within its limit."""

from __future__ import annotations

import json
import shutil

import pytest

from chatlab.history.environments import compare_versions, find_uv
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.revisions.compare import compare_revisions
from chatlab.snapshots.snapshot import snapshot

pytestmark = [pytest.mark.real, pytest.mark.benchmark(group="revisions")]

VERSIONS = ["4.31.0", "4.46.3", "4.57.1", "5.23.0"]


@pytest.fixture
def phi3(real, tmp_path, monkeypatch):
    """The real pair of 32,000 pieces, and a cache that is empty; imports are paid before."""
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "cache"))
    for name in ("before", "after"):
        shutil.copytree(real / "phi-3" / name, tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "phi3"}))
        for path in (tmp_path / name).iterdir():
            path.chmod(0o644)
    compare_revisions("data/tokenizers/byte-bpe", "data/tokenizers/byte-bpe", cache=False)
    return tmp_path


def under(benchmark, limit: float) -> None:
    """Print the median beside its limit in seconds, and hold it."""
    median = benchmark.stats.stats.median
    benchmark.extra_info["ratio_to_limit"] = median / limit
    print(f"\n{benchmark.name}: {median:.3f} s, {median / limit:.0%} of the limit of {limit} s")
    assert median <= limit


def test_two_32k_tokenizers_with_the_whole_corpus(benchmark, phi3):
    benchmark.pedantic(compare_revisions, (phi3 / "before", phi3 / "after"), {"cache": False}, rounds=5)
    under(benchmark, 3.0)


def test_two_32k_tokenizers_with_one_snapshot_cached(benchmark, phi3):
    kept = snapshot(phi3 / "before")

    def fresh():
        for entry in (phi3 / "cache" / "snapshots").iterdir():
            entry.unlink()
        snapshot(phi3 / "before")
        return (phi3 / "before", phi3 / "after"), {}

    assert kept.loaders == ("auto", "raw")
    benchmark.pedantic(compare_revisions, setup=fresh, rounds=5)
    under(benchmark, 1.5)


def test_a_second_check_of_an_unchanged_lock(benchmark, phi3):
    lock("phi3", phi3 / "before", path=phi3 / "chatlab.lock")
    check(path=phi3 / "chatlab.lock")
    benchmark.pedantic(check, kwargs={"path": phi3 / "chatlab.lock"}, rounds=10)
    under(benchmark, 1.0)


def test_a_matrix_of_four_environments_that_are_made(benchmark, phi3, monkeypatch):
    """Warm: the environments are there, the snapshots are not."""
    try:
        find_uv()
    except Exception as error:
        pytest.skip(f"no uv: {error}")
    compare_versions(phi3 / "before", VERSIONS)
    shutil.rmtree(phi3 / "cache" / "snapshots")
    matrix = benchmark.pedantic(compare_versions, (phi3 / "before", VERSIONS), rounds=1)
    assert [c.error for c in matrix.cells] == [None] * 4
    under(benchmark, 60.0)
