"""Single edits of chat templates, as vendors make them: where each kind fits, and what the template is after it.

None of them knows what a probe renders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TAG = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?[a-zA-Z_]+[=>]|\[/?[A-Z_]{3,}\]|<<?/?[A-Z_|]{3,}>>?")
END = re.compile(
    r"(<[|｜](?:im_end|end|eot_id|eot|endoftext|end▁of▁sentence|call|END_OF_TURN_TOKEN)[|｜]>|<end_of_turn>|</s>)((?:\\n|\n)+)"
)
LOOP = re.compile(r"\{%-?\s*for (\w+) in \w*messages\w*\s*-?%\}")
OUTPUT = re.compile(r"\{\{(?:(?!\}\}).)*\}\}", re.DOTALL)
PROSE = re.compile(r"[A-Z][a-z]+(?: [a-z]+){2,}")


@dataclass(frozen=True, kw_only=True)
class TemplateEdit:
    """One changed place: the template before it, what stood there and what stands there now, and the rest."""

    kind: str
    start: int
    old: str
    new: str

    def apply(self, template: str) -> str:
        return template[: self.start] + self.new + template[self.start + len(self.old) :]


Places = Callable[[str], Iterator[tuple[int, str, str]]]


def replaced(pattern: str | re.Pattern[str], new: str) -> Places:
    """Each match replaced by ``new``, which may name the groups."""

    def places(template: str) -> Iterator[tuple[int, str, str]]:
        for match in re.finditer(pattern, template):
            yield match.start(), match[0], match.expand(new)

    return places


def refusing(role: str) -> Places:
    """A loop over messages that raises when it meets a role."""

    def places(template: str) -> Iterator[tuple[int, str, str]]:
        for match in LOOP.finditer(template):
            refusal = f"{{% if {match[1]}['role'] == '{role}' %}}{{{{ raise_exception('no {role}') }}}}{{% endif %}}"
            yield match.start(), match[0], match[0] + refusal

    return places


def without_result(template: str) -> Iterator[tuple[int, str, str]]:
    """What is written of a tool's result: the first output of content behind a test for the role."""
    for match in re.finditer(r"==\s*['\"]tool['\"]", template):
        output = next((o for o in OUTPUT.finditer(template, match.end()) if "content" in o[0]), None)
        if output is not None and output.start() - match.end() < 600:
            yield output.start(), output[0], ""


def swapped_fields(template: str) -> Iterator[tuple[int, str, str]]:
    """Name and arguments of a tool call change places."""
    call = re.search(r"\{%-?\s*for (\w+) in [\w.\[\]'\"]*tool_calls['\"\]]*\s*-?%\}", template)
    if call is None:
        return
    body = re.search(r"\{%-?\s*endfor\s*-?%\}\s*(?:\{%-?\s*endif|\{\{|$)", template[call.end() :])
    end = call.end() + (body.start() if body else 600)
    old = template[call.end() : end]
    word = r"(?<=[.\['\"])(name|arguments)\b"
    new = re.sub(word, lambda m: "arguments" if m[1] == "name" else "name", old)
    if new != old:
        yield call.end(), old, new


KINDS: dict[str, Places] = {
    "drop a tag": replaced(TAG, ""),
    "misspell a tag": replaced(r"<\|([a-z_]{3,})\|>", r"<|\1_|>"),
    "drop a tool wrapper": replaced(
        r"</?(?:tool_call|tool_response|tools|function|parameter)[>=]|<[|｜]tool[^<>\s]*[|｜]>", ""
    ),
    "move an end token": replaced(END, r"\2\1"),
    "keep a thought": replaced(r"\.split\((['\"])</think>\1\)\[-1\]", ""),
    "strip a thought": replaced(r"<think>|</think>", ""),
    "thoughts of all turns": replaced(r"loop\.index0 > ns\.\w+", "true"),
    "thoughts of no turn": replaced(r"loop\.index0 > ns\.\w+", "false"),
    "rename a role": replaced(r"(== ?['\"])(user|assistant|system|tool|developer)(?=['\"])", r"\1\2_"),
    "raise on a tool": refusing("tool"),
    "raise on a system text": refusing("system"),
    "raise on a developer": refusing("developer"),
    "raise on a user": refusing("user"),
    "ignore enable_thinking": replaced(
        r"(?<=if )enable_thinking is defined and [^%}]*?enable_thinking[^%}]*?(?=\s*-?%\})", "false"
    ),
    "drop the generation prompt": replaced(r"if add_generation_prompt\b", "if false"),
    "always a generation prompt": replaced(r"if add_generation_prompt\b", "if true"),
    "swap fields of a call": swapped_fields,
    "drop a tool's result": without_result,
    "change a text": replaced(PROSE, r"\g<0> now"),
    "drop the BOS": replaced(r"\{\{-?\s*bos_token\s*-?\}\}", ""),
    "drop a line break": replaced(r"(?<=[^\\])\\n(?=['\"])", ""),
    "drop a trim": replaced(r"\s*\|\s*trim\b|\.strip\(\)", ""),
    "spell JSON as Python": replaced(r"\|\s*tojson\b(?:\([^)]*\))?", "| string"),
    "forget the tools": replaced(r"(?<=if )tools\b(?= *-?%| and)", "false"),
    "drop an output": replaced(OUTPUT, ""),
}


def edits(template: str) -> list[TemplateEdit]:
    """Every edit of every kind that fits; comments and the words of a refusal are left alone: no render shows them."""
    unseen = re.compile(r"\{#.*?#\}|\{\{-?\s*raise_exception\((?:(?!\}\}).)*\}\}", re.DOTALL)
    comments = [match.span() for match in unseen.finditer(template)]
    return [
        TemplateEdit(kind=kind, start=start, old=old, new=new)
        for kind, places in KINDS.items()
        for start, old, new in places(template)
        if not any(begin <= start < end for begin, end in comments)
    ]


def reached_mark(edit: TemplateEdit, template: str) -> str | None:
    """The template with a refusal where the edit is: it shows whether any render comes by."""
    opened = max(template.rfind("{%", 0, edit.start + 1), template.rfind("{{", 0, edit.start + 1))
    closed = max(template.rfind("%}", 0, edit.start), template.rfind("}}", 0, edit.start))
    at = opened if opened > closed else edit.start
    if re.match(r"\{%-?\s*(elif|else)", template[at:]):
        return None
    return template[:at] + "{{ raise_exception('here') }}" + template[at:]
