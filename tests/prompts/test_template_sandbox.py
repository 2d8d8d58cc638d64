"""Untrusted templates: what escapes is refused, what explodes is killed, and the next one still renders."""

from __future__ import annotations

import os
import resource
import time
from datetime import datetime

import pytest

from chatlab.errors import TemplateError, TemplateLimitError
from chatlab.prompts.template_sandbox import _CHILDREN, TemplateLimits, render, render_untrusted
from tests.prompts.templates import ALL

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
VARIABLES = {"messages": MESSAGES, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}

ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ()|attr('__cla' ~ 'ss__') }}",
    "{{ messages.__class__.__base__ }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__ }}",
    "{{ strftime_now.__code__ }}",
    "{{ raise_exception.__closure__ }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ loop.__class__ }}{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._recurse.__globals__ }}{% endfor %}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ ('%s' % ''.__class__) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{{ messages.pop() }}",
    "{{ messages.clear() }}",
    "{% set ns = namespace(__class__=1) %}",
    "{{ dict.__init__ }}",
    "{{ dict.fromkeys.__globals__ }}",
    "{{ (messages|map(attribute='__class__')|list) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os') }}",
    "{{ import_module('os') }}",
]
BOMBS = {
    "a long string": "{{ 'a' * 10**9 }}",
    "a string that fits in memory": "{{ 'a' * (3 * 10**7) }}",
    "doubling": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "much output": "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "a power": "{{ (2 ** (10 ** 9)) % 7 }}",
    "a list": "{% set x = [0] * (10 ** 9) %}{{ x|length }}",
    "padding": "{{ 'a'.ljust(10**10) }}",
    "format width": "{{ '%1000000000d' % 1 }}",
    "centre": "{{ 'a'|center(10**10) }}",
    "a big range": "{{ range(10**9)|list }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "deep nesting": "{{ " + "(" * 5_000 + ")" * 5_000 + " }}",
    "many filters": "{{ 'a'" + "|upper" * 100_000 + " }}",
}


@pytest.mark.parametrize("template", ESCAPES)
def test_an_escape_is_a_typed_error(template):
    with pytest.raises(TemplateError):
        render_untrusted(template, VARIABLES)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_typed_error_that_costs_little(name):
    """Under three seconds of rendering and 600 MB on top of a bare child; the parent does not grow."""
    render_untrusted("{{ messages[0].content }}", VARIABLES)  # a warm child: its start is not the template's cost
    child, before = _CHILDREN[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bare, started = _peak_kb(child._process.pid), time.monotonic()
    with pytest.raises(TemplateError):
        render_untrusted(BOMBS[name], VARIABLES)
    assert time.monotonic() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    if child.alive():
        assert _peak_kb(child._process.pid) - bare < 600_000
    assert render_untrusted("{{ messages[0].content }}", VARIABLES) == "Hi"


def _peak_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


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
