"""Chat templates that we wrote, and a fast AutoTokenizer that carries one."""

from __future__ import annotations

from functools import cache

from tests.support.small_tokenizers import small_tokenizers

CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# Stripped contents, a system role that is refused, BOS in the text.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
# The system text stands in the last question, so it moves every turn.
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\\n\\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + (system if loop.last or loop.index0 == rest | length - 2 and rest[-1]['role'] != 'user' else '') }}"
    "{{ message['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
# The system text is dropped without a word.
DROPPING = (
    "{% for message in messages if message['role'] != 'system' %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
# Earlier answers lose their thoughts; tools are listed; tool results have a turn of their own.
THINKING = (
    "{% if tools %}{{ '<|im_start|>tools\\n' }}{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{% set content = message['content'] or '' %}"
    "{% if message['role'] == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + content }}"
    "{% for call in message.tool_calls or [] %}{{ '\\n<call>' + call['function'] | tojson + '</call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
# An answer is taken apart at its thoughts and put together again.
REBUILDING = (
    "{% for message in messages %}{% set content = message['content'] %}"
    "{% if message['role'] == 'assistant' and '</think>' in content %}"
    "{% set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{% set content = '<think>\\n' + thoughts + '\\n</think>\\n\\n' + content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }} {{ messages[-1]['content'] }}"
ALL = {"chatml": CHATML, "gemma": GEMMA, "mistral": MISTRAL, "dropping": DROPPING, "thinking": THINKING}


@cache
def fast_tokenizer(kind: str, template: str | None, bos: str | None = None, eos: str | None = None):
    """A fast AutoTokenizer over a small tokenizer; equal arguments give the same object."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    rust = Tokenizer.from_str(small_tokenizers()[kind].to_str())
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token=bos, eos_token=eos)
    tokenizer.chat_template = template
    return tokenizer
