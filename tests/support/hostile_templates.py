"""Chat templates that reach out or never end, and what they are rendered with."""

from __future__ import annotations

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
