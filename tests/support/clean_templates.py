"""Chat templates that lose nothing of a conversation, and single faults put into them, each with what it must be called.

The names are given by hand, from what each fault does; nothing here knows how an audit finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

_CALL = (
    "{% set given = call.function.arguments %}"
    '{{ \'\\n<call>{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{% if given is string %}{{ given }}{% else %}{{ given | tojson }}{% endif %}{{ '}</call>' }}"
)

PLAIN = (
    "{% if tools %}{{ '<|im_start|>tools\\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{{ message.content }}"
    "{% for call in message.tool_calls or [] %}" + _CALL + "{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""No reasoning is written at all."""

THINKING = (
    "{% if tools %}{{ '<|im_start|>tools\\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.role == 'assistant' and not message.content.startswith('<think>') %}"
    "{{ '<think>\\n' + (message.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ message.content }}"
    "{% for call in message.tool_calls or [] %}" + _CALL + "{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
"""Thoughts are kept for good, and a reply without any has an empty block."""

TOOLS = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ '[SYSTEM]' + message.content + '[/SYSTEM]' }}"
    "{% elif message.role == 'user' %}{{ '[INST]' + message.content + '[/INST]' }}"
    "{% elif message.role == 'tool' %}{{ '[RESULT]' + message.content + '[/RESULT]' }}"
    "{% else %}{% generation %}{{ message.content }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ '[CALL]' + call.function.name }}{% set given = call.function.arguments %}"
    "{% if given is string %}{% set given = given[2:-2].split('\": \"') %}"
    "{{ '\\n<arg key=\"' + given[0] + '\">\"' + given[1] + '\"</arg>' }}{% else %}"
    "{% for key, value in given.items() %}{{ '\\n<arg key=\"' + key + '\">' + value | tojson + '</arg>' }}{% endfor %}{% endif %}"
    "{% endfor %}"
    "{{ eos_token }}{% endgeneration %}{% endif %}"
    "{% endfor %}"
)
"""Arguments one by one, another end token, and the loss mask marked; a reply is opened with nothing."""

CLEAN = {"plain": PLAIN, "thinking": THINKING, "tools": TOOLS}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Replacements in a clean template, and all that an audit must say of it: kinds with their words."""

    name: str
    base: str
    edits: tuple[tuple[str, str], ...]
    named: frozenset[tuple[str, str]]

    @property
    def template(self) -> str:
        text = CLEAN[self.base]
        for old, new in self.edits:
            assert text.count(old) == 1, (self.name, old)
            text = text.replace(old, new)
        return text


def fault(
    name: str, base: str, old: str, new: str, *named: tuple[str, str], also: tuple[str, str] | None = None
) -> Fault:
    edits = ((old, new), *((also,) if also else ()))
    return Fault(name=name, base=base, edits=edits, named=frozenset(named))


_CONTENT = "{{ message.content }}"
_END = "{{ '<|im_end|>\\n' }}{% endfor %}{% if"
_LOOP = "{% for message in messages %}{{ '<|im_start|>'"
_OPEN = "{{ '<|im_start|>assistant\\n' }}"
_REASON = "(message.reasoning_content or '')"
_ARGS = "{{ given | tojson }}"
_LAST_ASKED = "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"

FAULTS = [
    fault("a reply is trimmed", "plain", _CONTENT, "{{ message.content | trim }}", ("reply trimmed", "")),
    fault("a reply is stripped on the right", "plain", _CONTENT, "{{ message.content.rstrip() }}", ("reply trimmed", "")),
    fault("a reply is spelled otherwise", "plain", _CONTENT, "{{ message.content | replace('o', '0') }}",
          ("reply rewritten", "as given")),
    fault("the end token is written only behind the last message", "plain", _END,
          "{% if loop.last or message.role != 'assistant' %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if",
          ("end token missing", "in history")),
    fault("no end token behind a reply", "plain", _END,
          "{% if message.role != 'assistant' %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if",
          ("end token missing", "")),
    fault("no end token behind a call", "plain", _END,
          "{% if not message.tool_calls %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if",
          ("end token missing", "behind a call")),
    fault("the last reply ends otherwise", "plain", _END,
          "{% if loop.last and message.role == 'assistant' and not add_generation_prompt %}{{ '<|return|>' }}{% else %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if",
          ("end token differs", "")),
    fault("eos at the very end", "plain", "{% endfor %}{% if add_generation_prompt %}",
          "{% endfor %}{% if not add_generation_prompt %}{{ eos_token }}{% endif %}{% if add_generation_prompt %}",
          ("end token only last", "")),
    fault("the opening thinks, the history does not", "plain", _OPEN, "{{ '<|im_start|>assistant\\n<think>\\n' }}",
          ("opening differs", "")),
    fault("the opening lacks its line end", "plain", _OPEN, "{{ '<|im_start|>assistant ' }}", ("opening differs", "")),
    fault("a reply is opened unasked", "plain", "{% if add_generation_prompt %}", "{% if true %}", ("opening unasked", "")),
    fault("calls are not written", "plain", "message.tool_calls or []", "[]", ("call dropped", "")),
    fault("one call is written", "plain", "message.tool_calls or []", "(message.tool_calls or [])[:1]", ("call dropped", "")),
    fault("arguments are not written", "plain", _ARGS, "{{ '{}' }}",
          ("call dropped", "the arguments"), ("arguments as text", "")),
    fault("arguments as Python spells them", "plain", _ARGS, "{{ given | string }}",
          ("argument values changed", "Python's words")),
    fault("one argument as Python spells it", "tools", "value | tojson", "value | string",
          ("argument values changed", "Python's words")),
    fault("whole numbers", "plain", _ARGS, "{{ given | tojson | replace('1.0', '1') }}", ("argument values changed", "numbers")),
    fault("letters escaped", "plain", _ARGS, "{{ given | tojson | replace('é', '\\\\u00e9') }}",
          ("argument values changed", "escaped text")),
    fault("markup escaped", "plain", _ARGS, "{{ given | tojson | e }}", ("argument values changed", "escaped text")),
    fault("arguments sorted", "tools", "given.items()", "given | dictsort", ("argument values changed", "order")),
    fault("arguments as text are quoted again", "plain", "{% if given is string %}{{ given }}", "{% if given is string %}{{ given | tojson }}",
          ("arguments as text", "")),
    fault("system is left out", "plain", _LOOP, "{% for message in messages if message.role != 'system' %}{{ '<|im_start|>'",
          ("message dropped", "system")),
    fault("results are left out", "plain", _LOOP, "{% for message in messages if message.role != 'tool' %}{{ '<|im_start|>'",
          ("message dropped", "tool")),
    fault("text beside a call is left out", "plain", _CONTENT, "{% if not message.tool_calls %}{{ message.content }}{% endif %}",
          ("message dropped", "assistant beside a call")),
    fault("system is refused", "plain", _LOOP,
          "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ '<|im_start|>'",
          ("refused", "TemplateError: no system")),
    fault("results are refused", "plain", _LOOP,
          "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ '<|im_start|>'",
          ("refused", "TemplateError: no tools")),
    fault("two calls are refused", "plain", _LOOP,
          "{% for message in messages %}{% if message.tool_calls and message.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}{{ '<|im_start|>'",
          ("refused", "TemplateError: one")),
    fault("tools are listed before the last question", "plain", "{% if tools %}",
          "{% if tools and messages[-1].role == 'user' %}", ("history rewritten", "")),
    fault("the date", "plain", _LOOP, "{{ strftime_now('%d %b %Y') }}" + _LOOP, ("clock", "")),
    fault("two BOS", "tools", "{{ bos_token }}", "{{ bos_token + bos_token }}", ("BOS twice", "")),
    fault("earlier thoughts are left out", "thinking", _REASON,
          "(message.reasoning_content if message.reasoning_content and loop.last else '')", ("reasoning dropped", "")),
    fault("thoughts before the last question are left out", "thinking", "{% for message in messages %}{{ '<|im_start|>'",
          _LAST_ASKED + "{% for message in messages %}{{ '<|im_start|>'", ("reasoning dropped", ""),
          also=(_REASON, "(message.reasoning_content if message.reasoning_content and loop.index0 > ns.last else '')")),
    fault("thoughts beside a call are left out", "thinking", _REASON,
          "(message.reasoning_content if message.reasoning_content and not message.tool_calls else '')", ("reasoning dropped", "")),
    fault("thoughts in the text are cut off", "thinking", "{{ message.content }}",
          "{{ message.content if loop.last else message.content.split('</think>')[-1] }}", ("reasoning dropped", "in the text")),
    fault("an empty think block for the last reply alone", "thinking", "and not message.content.startswith('<think>') %}",
          "and not message.content.startswith('<think>') and (message.reasoning_content or loop.last or add_generation_prompt and false) %}",
          ("think block dropped", "")),
    fault("thinking is off", "thinking", "enable_thinking is defined and not enable_thinking", "not enable_thinking",
          ("thinking off", "enable_thinking"), ("opening differs", "")),
    fault("the mask ends before the end token", "tools", "{{ eos_token }}{% endgeneration %}", "{% endgeneration %}{{ eos_token }}",
          ("end token unmasked", "")),
    fault("the mask covers the next header", "tools", "{{ '[INST]' + message.content + '[/INST]' }}",
          "{% generation %}{{ '[INST]' + message.content + '[/INST]' }}{% endgeneration %}", ("mask too wide", "a user message")),
    fault("calls lie outside the mask", "tools", "{% generation %}{{ message.content }}",
          "{% generation %}{{ message.content }}{% endgeneration %}", ("reply unmasked", "a call"),
          also=("{{ eos_token }}{% endgeneration %}", "{% generation %}{{ eos_token }}{% endgeneration %}")),
    fault("replies lie outside the mask", "tools", "{% else %}{% generation %}{{ message.content }}",
          "{% else %}{{ message.content }}{% generation %}", ("reply unmasked", "")),
    fault("the mask covers the opening", "plain", "{{ '<|im_start|>' + message.role + '\\n' }}",
          "{% generation %}{{ '<|im_start|>' + message.role + '\\n' }}",
          ("mask too wide", "the opening"), ("mask too wide", "a user message"), ("mask too wide", "a tool message"), ("mask too wide", "a system message"),
          also=("{{ '<|im_end|>\\n' }}{% endfor %}{% if add", "{{ '<|im_end|>\\n' }}{% endgeneration %}{% endfor %}{% if add")),
]  # fmt: skip
