"""Untrusted templates: what escapes is refused, what explodes is killed, and the next one still renders."""

from __future__ import annotations

import os
import resource
import signal
from datetime import datetime

import pytest

from chatlab.errors import TemplateError, TemplateLimitError
from chatlab.prompts.templates.sandbox import _CHILDREN, TemplateLimits, render, render_untrusted
from tests.support.hostile_templates import BOMBS, ESCAPES, VARIABLES
from tests.support.templates import ALL


@pytest.mark.parametrize("template", ESCAPES)
def test_an_escape_is_a_typed_error(template):
    with pytest.raises(TemplateError):
        render_untrusted(template, VARIABLES)


def test_the_limits_are_under_three_seconds_and_600_mb():
    assert TemplateLimits().time_s < 3
    assert TemplateLimits().memory_bytes < 600e6


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_typed_error_and_the_next_template_renders(name):
    """What it may cost is what the limits say; tests/benchmarks/test_bench_prompts.py measures what it does."""
    with pytest.raises(TemplateError):
        render_untrusted(BOMBS[name], VARIABLES)
    assert render_untrusted("{{ messages[0].content }}", VARIABLES) == "Hi"


@pytest.mark.parametrize("memory_bytes", [TemplateLimits().memory_bytes, 64 * 2**20])
def test_the_child_may_not_grow_beyond_its_memory_limit(memory_bytes):
    """The kernel holds the limit: it is the child's own size when it was ready, and ``memory_bytes`` on top."""
    limits = TemplateLimits(memory_bytes=memory_bytes)
    render_untrusted("a", VARIABLES, limits=limits)
    pid = _CHILDREN[0]._process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmPeak"))
    assert memory_bytes < soft == hard <= peak + memory_bytes  # its size now may be less than when it was ready
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    with pytest.raises(TemplateLimitError, match="too much memory"):
        render_untrusted(f"{{{{ 'a' * {4 * memory_bytes} }}}}", VARIABLES, limits=limits)


@pytest.mark.parametrize("time_s", [0.1, 0.5])
def test_a_template_is_killed_at_its_time_limit(time_s):
    """The error says that the clock ended it, and the child is gone."""
    render_untrusted("a", VARIABLES)
    child = _CHILDREN[0]
    with pytest.raises(TemplateLimitError, match=f"longer than {time_s} s"):
        render_untrusted(BOMBS["loops in loops"], VARIABLES, limits=TemplateLimits(time_s=time_s))
    assert not child.alive()


def test_the_kind_of_overstepping_is_told():
    for template, why in [
        (BOMBS["loops in loops"], "longer than 1.0 s"),
        (BOMBS["a long string"], "too much memory"),
        (BOMBS["much output"], "more than 1000000 characters"),
    ]:
        with pytest.raises(TemplateLimitError, match=why):
            render_untrusted(template, VARIABLES)
    with pytest.raises(TemplateLimitError, match="more than 3 characters"):
        render_untrusted("abcd", VARIABLES, limits=TemplateLimits(output_len=3))


@pytest.mark.parametrize("name", ALL)
def test_honest_templates_render_the_same_inside_and_out(name):
    clock = datetime(2024, 7, 26)
    assert render_untrusted(ALL[name], VARIABLES, clock=clock) == render(ALL[name], VARIABLES, clock=clock)


def test_a_template_sees_neither_the_environment_nor_the_callers_objects(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TEST", "x")
    render_untrusted("a", VARIABLES)
    with open(f"/proc/{_CHILDREN[0]._process.pid}/environ", "rb") as environ:
        assert b"SECRET_OF_THE_TEST" not in environ.read()
    with pytest.raises(TemplateError, match="plain data only"):
        render_untrusted("a", {"messages": [object()]})


def test_a_dead_child_is_replaced():
    assert render_untrusted("a", VARIABLES) == "a"
    os.kill(_CHILDREN[0]._process.pid, 9)
    _CHILDREN[0]._process.wait()
    assert render_untrusted("b", VARIABLES) == "b"


def test_an_interrupted_render_leaves_no_answer_for_the_next():
    """Ctrl-C while a template renders: the next prompt is its own, not the one that was given up."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    render_untrusted("a", VARIABLES)
    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            render_untrusted(BOMBS["loops in loops"], VARIABLES, limits=TemplateLimits(time_s=60))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert render_untrusted("b", VARIABLES) == "b"


def test_without_a_process_to_limit_nothing_is_rendered(monkeypatch):
    """As on a system that has no such limits: an error that says so, not a render without them."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    limits = TemplateLimits(memory_bytes=65 * 2**20)
    with pytest.raises(TemplateLimitError, match="no process with limits could start"):
        render_untrusted("a", VARIABLES, limits=limits)
    monkeypatch.undo()
    assert render_untrusted("a", VARIABLES, limits=limits) == "a"
