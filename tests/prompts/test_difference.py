"""A class beside the tokenizer's own template: equal where it should be, and each flaw by its name where not."""

from __future__ import annotations

import json
import re
from difflib import SequenceMatcher

import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from

from chatlab.embedded import tokenizer_path
from chatlab.errors import DialogueError, PromptError, TemplateError, TemplateLimitError, TemplateSyntaxError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.dialogue import Dialogue, Turn
from chatlab.prompts.difference import compare_with_template
from chatlab.prompts.flaws import FlawKind
from chatlab.prompts.formats.chatml import ChatPromptChatML
from chatlab.prompts.formats.gemma import ChatPromptGemma
from chatlab.prompts.formats.mistral import ChatPromptMistralV3
from chatlab.prompts.formats.named_roles import ChatPromptRinnaJpGptNeoxInstSft
from chatlab.prompts.formats.phi3 import ChatPromptPhi3, ChatPromptPhi3Medium
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.prompts.prompt_difference import PromptDifference, TemplateComparison
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from tests.support.small_tokenizers import encodable_dialogues
from tests.support.templates import CHATML, DROPPING, GEMMA, MISTRAL, fast_tokenizer

DIALOGUE = Dialogue(
    id="d",
    system="Be brief.",
    turns=(Turn(user="Hi", assistant="Hello"), Turn(user="Who?", assistant="Me"), Turn(user="Why?")),
)
NO_SYSTEM = Dialogue(id="n", turns=DIALOGUE.turns)


def compared(cls, template, dialogues=(DIALOGUE,), kind="byte bpe", **tokens):
    return compare_with_template(cls, fast_tokenizer(kind, template, **tokens), dialogues)


@pytest.mark.parametrize(
    ("cls", "template", "kind", "bos"),
    [
        (ChatPromptChatML, CHATML, "byte bpe", None),
        (ChatPromptPhi3Medium, DROPPING, "right-stripping", None),
        (ChatPromptMistralV3, MISTRAL, "llama2 and mistral", "<s>"),
        (ChatPromptGemma, GEMMA, "metaspace first", "<bos>"),
    ],
)
def test_a_class_equals_its_template_on_the_embedded_dialogues(cls, template, kind, bos):
    dialogues = [d for d in encodable_dialogues() if sum(len(t.user) for t in d.turns) < 500][::8]
    if template is GEMMA:
        dialogues = [d for d in dialogues if d.system is None]
    result = compared(cls, template, dialogues, kind, bos=bos, eos="</s>")
    assert result.prompts > 150
    assert result.same_text == result.same_ids == result.prompts, result.differences[0].text_edits()


def flaws(result, side):
    return {kind for (kind, whose) in result.flaws if whose == side}


def test_double_bos_is_named():
    class AsksForMore(ChatPromptMistralV3):
        add_special_tokens = True

    result = compared(AsksForMore, MISTRAL, kind="bos and eos added", bos="<s>", eos="</s>")
    assert FlawKind.DOUBLE_BOS in flaws(result, "class")
    assert FlawKind.DOUBLE_BOS in flaws(result, "template")
    details = {f.side: f.detail for f in result.differences[0].flaws if f.kind is FlawKind.DOUBLE_BOS}
    assert details["class"] == "the ids begin with [0, 0]"
    assert "with add_special_tokens=True" in details["template"]
    assert FlawKind.DOUBLE_BOS not in flaws(compared(ChatPromptChatML, CHATML), "class")


def test_missing_bos_is_named():
    class Forgets(ChatPromptMistralV3):
        format = ChatPromptMistralV3.format.__class__(**{**vars(ChatPromptMistralV3.format), "head": ""})

    result = compared(Forgets, MISTRAL, kind="llama2 and mistral", bos="<s>", eos="</s>")
    assert FlawKind.MISSING_BOS in flaws(result, "class")


def test_a_trailing_space_is_named():
    class Spaced(ChatPromptChatML):
        def create_prompt(self, opts=None):
            return super().create_prompt(opts) + " "

    result = compared(Spaced, CHATML)
    assert flaws(result, "class") >= {FlawKind.TRAILING_SPACE}
    assert flaws(result, "template") == set()
    (edit,) = result.differences[0].text_edits()
    assert (edit.class_part, edit.template_part) == (" ", "")
    assert result.differences[0].id_edits()


def test_a_missing_generation_prompt_is_named():
    class Closed(ChatPromptChatML):
        def create_prompt(self, opts=None):
            return super().create_prompt(opts).removesuffix("<|im_start|>assistant\n")

    assert flaws(compared(Closed, CHATML), "class") == {FlawKind.MISSING_GENERATION_PROMPT}
    without = CHATML.replace("{%- if add_generation_prompt %}", "{%- if false %}")
    assert flaws(compared(ChatPromptChatML, without), "template") == {FlawKind.MISSING_GENERATION_PROMPT}


def test_a_dropped_system_prompt_is_named():
    result = compared(ChatPromptPhi3, DROPPING, kind="right-stripping")
    assert flaws(result, "template") == {FlawKind.SYSTEM_DROPPED}
    assert result.flaws[FlawKind.SYSTEM_DROPPED, "template"] == 3
    assert compared(ChatPromptPhi3, DROPPING, [NO_SYSTEM], kind="right-stripping").flaws == {}


def test_a_system_text_is_dropped_where_the_prompt_does_not_depend_on_it():
    """Not where a format writes its newlines otherwise, and also where a question happens to say the same."""
    lines = Dialogue(id="d", system="Be brief.\nBe kind.", turns=DIALOGUE.turns)
    assert FlawKind.SYSTEM_DROPPED not in flaws(compared(ChatPromptRinnaJpGptNeoxInstSft, CHATML, [lines]), "class")
    echoed = Dialogue(id="d", system="Who?", turns=DIALOGUE.turns)
    result = compared(ChatPromptPhi3, DROPPING, [echoed], kind="right-stripping")
    assert result.flaws[FlawKind.SYSTEM_DROPPED, "template"] == 3


def test_a_broken_prefix_is_named():
    """Mistral's system text moves to the last question, so no earlier render begins the next."""
    result = compared(ChatPromptMistralV3, MISTRAL, kind="llama2 and mistral", bos="<s>", eos="</s>")
    assert FlawKind.PREFIX_BROKEN in flaws(result, "class")
    assert FlawKind.PREFIX_BROKEN in flaws(result, "template")
    assert (
        compared(ChatPromptMistralV3, MISTRAL, [NO_SYSTEM], kind="llama2 and mistral", bos="<s>", eos="</s>").flaws
        == {}
    )


def test_a_refusing_template_is_named_and_the_rest_goes_on():
    result = compared(ChatPromptGemma, GEMMA, [DIALOGUE, NO_SYSTEM], kind="metaspace first", bos="<bos>")
    assert result.flaws == {(FlawKind.REFUSED, "template"): 3}
    assert (result.prompts, result.same_text) == (6, 3)
    assert result.differences[0].template_text is None
    assert result.differences[0].first_differing_offset() is None


@pytest.mark.parametrize("template", ["{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
                                      "{{ 'a' * (10**9) }}"])  # fmt: skip
def test_a_hostile_template_ends_the_comparison(template):
    tokenizer = fast_tokenizer("byte bpe", template)
    with pytest.raises(TemplateLimitError):
        compare_with_template(ChatPromptChatML, tokenizer, [DIALOGUE], untrusted=True)


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_template_that_is_no_jinja_is_not_taken_for_a_refusal(untrusted):
    with pytest.raises(TemplateSyntaxError, match="line 1"):
        compare_with_template(ChatPromptChatML, fast_tokenizer("byte bpe", "{% if %}"), [DIALOGUE], untrusted=untrusted)


def test_trusted_or_not_the_comparison_is_the_same():
    for template in (CHATML, DROPPING):
        tokenizer = fast_tokenizer("byte bpe", template)
        trusted, limited = (
            compare_with_template(ChatPromptChatML, tokenizer, [DIALOGUE, NO_SYSTEM], untrusted=untrusted)
            for untrusted in (False, True)
        )
        assert limited == trusted


def test_the_first_differing_offset_is_a_code_point():
    difference = compared(ChatPromptVicuna, CHATML).differences[0]
    offset = difference.first_differing_offset()
    assert difference.class_text[:offset] == difference.template_text[:offset]
    assert difference.class_text[offset] != difference.template_text[offset]
    text = difference.class_text
    for edit in reversed(difference.text_edits()):
        text = text[: edit.class_span[0]] + edit.template_part + text[edit.class_span[1] :]
    assert text == difference.template_text
    ids = difference.class_ids
    for edit in reversed(difference.id_edits()):
        ids = ids[: edit.class_span[0]] + edit.template_part + ids[edit.class_span[1] :]
    assert ids == difference.template_ids


def difference_of(ours: str, theirs: str) -> PromptDifference:
    return PromptDifference(
        dialogue_id="d", turn_number=1, class_text=ours, template_text=theirs, class_ids=[], template_ids=[]
    )


def test_a_long_diff_is_as_fine_as_a_slow_one():
    """The reference takes every word for an anchor, and so seconds a page."""
    turns = [turn for dialogue in encodable_dialogues()[:60] for turn in dialogue.turns]
    ours, theirs = (
        "".join(f"{mark}user\n{turn.user}{end}{mark}assistant\n{turn.assistant}{end}" for turn in turns)
        for mark, end in (("<|im_start|>", "<|im_end|>\n"), ("<|", "</s>\n"))
    )
    words = [re.findall(r"\w+|\s|[^\w\s]", text) for text in (ours, theirs)]
    slow = [op for op in SequenceMatcher(None, *words, autojunk=False).get_opcodes() if op[0] != "equal"]
    edits = difference_of(ours, theirs).text_edits()
    assert len(words[0]) > 5_000
    assert len(edits) <= len(slow)
    assert sum(len(e.class_part) for e in edits) <= sum(len("".join(words[0][a:b])) for _, a, b, _, _ in slow)


@given(
    *(lists(sampled_from(["a ", "b", " c\n", "<|x|>"]), max_size=400).map("".join) for _ in range(2)), integers(1, 1200)
)
@settings(max_examples=60)
def test_however_long_the_texts_the_edits_lead_from_one_to_the_other(ours, theirs, times):
    text, theirs = ours * times, theirs * times
    difference = difference_of(text[:9000], theirs[:9000])
    text = difference.class_text
    for edit in reversed(difference.text_edits()):
        text = text[: edit.class_span[0]] + edit.template_part + text[edit.class_span[1] :]
    assert text == difference.template_text


def test_the_result_is_plain_data_and_speaks():
    result = compared(ChatPromptPhi3, DROPPING, [DIALOGUE] * 3, kind="right-stripping")
    assert TemplateComparison.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert "ChatPromptPhi3 against the template of" in str(result)
    assert "system prompt dropped (template): 9 prompts" in str(result)


def test_many_differences_are_counted_and_few_are_kept():
    tokenizer = fast_tokenizer("right-stripping", DROPPING)
    result = compare_with_template(ChatPromptPhi3, tokenizer, [DIALOGUE] * 10, keep=4)
    assert (result.prompts, len(result.differences)) == (30, 4)


def test_no_template_and_no_class_are_typed_errors():
    with pytest.raises(TemplateError, match="no default chat template"):
        compared(ChatPromptChatML, None)

    class NoText(AbstractChatPrompt):
        pass

    with pytest.raises(PromptError, match="NoText has no create_prompt"):
        compared(NoText, CHATML)


def test_a_dialogue_that_cannot_be_encoded_is_named_and_left_out():
    bad = Dialogue(id="bad", turns=(Turn(user="Hi", assistant="Hello"), Turn(user="\ud800")))
    tokenizer, told = fast_tokenizer("byte bpe", CHATML), []
    with pytest.raises(DialogueError, match="dialogue 'bad': .*cannot encode the text"):
        compare_with_template(ChatPromptChatML, tokenizer, [DIALOGUE, bad])
    result = compare_with_template(ChatPromptChatML, tokenizer, [bad, DIALOGUE], on_bad=told.append)
    assert result == compare_with_template(ChatPromptChatML, tokenizer, [DIALOGUE])
    assert [str(error)[:15] for error in told] == ["dialogue 'bad':"]


def test_a_template_may_lie_in_a_folder_beside_any_tokenizer(tmp_path):
    (tmp_path / "chat_template.jinja").write_text(DROPPING)
    tokenizer = load_tokenizer(tokenizer_path("phi3-style/after"))
    result = compare_with_template(ChatPromptPhi3, tokenizer, [DIALOGUE, NO_SYSTEM], template=tmp_path)
    assert (result.prompts, result.same_text, result.same_ids) == (6, 3, 3)
    assert result.flaws == {(FlawKind.SYSTEM_DROPPED, "template"): 3}


def test_a_loaded_tokenizer_carries_its_template():
    inner = fast_tokenizer("byte bpe", CHATML)
    dialogues = [Dialogue(id="d", turns=(Turn(user="Hi", assistant="Hello"),))]
    wrapped = compare_with_template(ChatPromptChatML, as_tokenizer(inner), dialogues)
    bare = compare_with_template(ChatPromptChatML, inner, dialogues)
    assert (wrapped.prompts, wrapped.same_text, wrapped.same_ids) == (bare.prompts, bare.same_text, bare.same_ids)


def test_dialogues_of_every_shape_are_compared_call_by_call(tmp_path):
    """A class that is a template itself has a place for all; another names what it lacks."""
    tokenizer = fast_tokenizer("byte bpe", "{{ messages | tojson }}{{ tools | tojson }}", bos="<s>")
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    said = [
        {"role": "user", "content": "Hi"},
        call,
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "a"},
    ]
    records = [
        {"id": "loop", "messages": said, "tools": [{"name": "f"}]},
        {"conversations": [{"from": "human", "value": "Hi"}]},
    ]
    path = tmp_path / "talks.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    for source in (records, path, str(path)):
        same = compare_with_template(lambda: ChatTemplatePrompt(tokenizer), tokenizer, source)
        assert (same.prompts, same.same_text, same.same_ids) == (3, 3, 3)
    told = []
    other = compare_with_template(ChatPromptChatML, tokenizer, records, on_bad=told.append)
    assert other.prompts == 1
    assert told[0].kind == "ChatPromptChatML has no place for tools"
