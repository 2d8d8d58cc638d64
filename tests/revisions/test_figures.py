"""Figures of revisions: they draw what the result says."""

from __future__ import annotations

from chatlab.embedded import tokenizer_path
from chatlab.history.matrix import matrix_of
from chatlab.plots import plot_probe_changes, plot_version_matrix
from chatlab.revisions.compare import compare_revisions
from chatlab.snapshots.snapshot import snapshot


def test_a_version_matrix_shows_each_share_and_each_gap():
    legacy, other = (snapshot(tokenizer_path(f"llama2-style/{name}"), "auto") for name in ("legacy", "non-legacy"))
    matrix = matrix_of("ours/$x", "auto", {"4.57.1": legacy, "5.23.0": other, "9.9.9": "no such version"})
    figure = plot_version_matrix(matrix)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == texts[4] == "100"
    assert texts[8] == texts[2] == "no answer"
    assert texts[1] == texts[3] == f"{100 * matrix.agreement[0][1]:.0f}"
    figure.canvas.draw()


def test_changed_probes_are_bars_of_their_share():
    comparison = compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"))
    figure = plot_probe_changes(comparison)
    axes = figure.axes[0]
    widths = [bar.get_width() for bar in axes.containers[0]]
    assert widths == [100 * f.ids_changed / f.probe_len for f in comparison.families[::-1]]
    assert "BREAKING" in axes.get_title()
    figure.canvas.draw()
