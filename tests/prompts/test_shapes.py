"""Dialogues in the shapes of others: what is read is written again as OpenAI messages, and nothing of it is lost."""

from __future__ import annotations

import copy
import json

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.errors import DialogueError
from chatlab.prompts.dialogue import Dialogue, Turn, fill_prompt, prompts_of, read_dialogues
from chatlab.prompts.formats.registry import prompt_class
from chatlab.prompts.messages import dialogue_of
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from tests.support.templates import fast_tokenizer

texts = st.sampled_from(["", "a", " b\n", "é<&'", "\ud800", "{}", "<|im_end|>"])
names = st.sampled_from(["weight", "name", "logprobs", "x", "é"])
values = st.sampled_from(
    [None, False, 0, 1.0, -1, "", " ", [], {}, [None, {"a": [1.5]}], {"é": {"n": None, "f": False}}]
)
objects = st.dictionaries(texts, values, max_size=2)


def fields(**known):
    """Objects with these keys, some of them, and unknown ones."""
    return st.builds(
        lambda a, b: {**b, **a}, st.fixed_dictionaries({}, optional=known), st.dictionaries(names, values, max_size=2)
    )


def said(role, content, **more):
    return st.builds(lambda fixed, beside: {**beside, **fixed}, st.fixed_dictionaries({"role": st.just(role), "content": content}), fields(**more))  # fmt: skip


parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional={"x": values})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": objects}),
    min_size=1,
    max_size=3,
)
calls = st.lists(
    st.builds(
        lambda id, name, arguments: {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}},
        texts, texts, objects | objects.map(json.dumps) | st.just("{not JSON"),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
openai_messages = st.lists(
    st.one_of(
        said("user", texts | parts),
        said("assistant", texts | parts, reasoning_content=texts, reasoning=texts, tool_calls=calls),
        said("assistant", st.none(), tool_calls=calls).filter(lambda message: message.get("tool_calls")),
        said("tool", values, tool_call_id=texts),
        said("developer", texts),
        said("system", texts),
    ),
    max_size=4,
)
QUESTION = {"role": "user", "content": "Hi"}
schemas = st.builds(lambda name, p: {"type": "function", "function": {"name": name, "parameters": p}}, texts, objects)
beside = st.fixed_dictionaries(
    {},
    optional={"id": texts, "labels": objects, "tools": st.lists(schemas), "variables": objects, "source": values, "turn": st.integers()},
)  # fmt: skip


def comes_back(dialogue: Dialogue) -> Dialogue:
    """The law, also by way of JSON; gives the dialogue."""
    assert Dialogue.from_dict(dialogue.to_dict()) == dialogue
    assert Dialogue.from_dict(json.loads(json.dumps(dialogue.to_dict()))) == dialogue
    return dialogue


@given(openai_messages, beside, st.none() | texts)
def test_openai_messages_are_kept_to_the_last_field(messages, beside, system):
    record = {**beside, "messages": [*messages, QUESTION], **({} if system is None else {"system": system})}
    before = copy.deepcopy(record)
    dialogue = comes_back(Dialogue.from_dict(record))
    head = [] if system is None else [{"role": "system", "content": system}]
    assert list(dialogue.messages) == [*head, *messages, QUESTION]
    assert dialogue.tools == (tuple(record["tools"]) if "tools" in record else None)
    assert dialogue.variables == record.get("variables", {})
    assert dialogue.fields == {key: record[key] for key in ("source", "turn") if key in record}
    assert record == before


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3), st.none() | texts, beside)
def test_the_same_talk_is_the_same_dialogue_in_every_plain_shape(pairs, system, beside):
    """Turns, OpenAI's messages, ShareGPT's and TRL's say one thing."""
    openai = [m for u, a in pairs for m in ({"role": "user", "content": u}, {"role": "assistant", "content": a})]
    sharegpt = [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in openai]
    common = {**beside, **({} if system is None else {"system": system})}
    shapes = [
        {"turns": [{"user": u, "assistant": a} for u, a in pairs]},
        {"messages": openai},
        {"conversations": sharegpt},
        {"conversation": openai},
        {"prompt": openai[:-1], "completion": openai[-1:]},
        {"messages": [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in openai]},
    ]
    first, *others, in_parts = [comes_back(Dialogue.from_dict({**common, **shape})) for shape in shapes]
    assert all(other == first for other in others)
    assert (first.system, first.turns) == (system, tuple(Turn(user=u, assistant=a) for u, a in pairs))
    assert "turns" in first.to_dict()
    assert "messages" in in_parts.to_dict()
    assert in_parts.turns == first.turns


# Anthropic, with a slow way back that the reader does not use

blocks = st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional={"cache_control": st.just({"a": 1})})
thinking = st.lists(
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts}, optional={"signature": texts})
    | st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": texts}),
    max_size=2,
)
uses = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("tool_use"), "id": texts, "name": texts, "input": objects},
        optional={"cache_control": st.just({"a": 1})},
    ),
    max_size=2,
)
spoken = st.lists(blocks | st.just({"type": "server_tool_use", "id": "s", "input": {}}), max_size=2)
results = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": texts},
        optional={"content": texts | st.lists(blocks, min_size=1, max_size=2), "is_error": st.booleans()},
    ),
    min_size=1,
    max_size=2,
)
anthropic = st.lists(
    st.builds(lambda t, s, u: {"role": "assistant", "content": [*t, *s, *u]}, thinking, spoken, uses).filter(lambda m: m["content"])
    | st.builds(lambda r, s: {"role": "user", "content": [*r, *s]}, results, st.lists(blocks, max_size=2))
    | st.builds(lambda s: {"role": "user", "content": s}, texts | st.lists(blocks, min_size=1)),
    min_size=1, max_size=4,
)  # fmt: skip


def as_blocks(content):
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def back_to_anthropic(messages):
    """Anthropic's messages of OpenAI's; results and what a user says behind them are one message there."""
    found = []
    for message in messages:
        rest = {k: v for k, v in message.items() if k not in ("role", "content", "reasoning_content", "thinking_blocks", "tool_calls")}  # fmt: skip
        if message["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": rest.pop("tool_call_id"), **rest}
            content = as_blocks(message["content"])
            found.append(("user", [{**result, "content": content}]))
        else:
            thought = message.get("thinking_blocks")
            if thought is None and "reasoning_content" in message:
                thought = [{"type": "thinking", "thinking": message["reasoning_content"]}]
            called = [
                {"type": "tool_use", "id": c["id"], **{("input" if k == "arguments" else k): v for k, v in c["function"].items()}, **{k: v for k, v in c.items() if k not in ("id", "type", "function")}}
                for c in message.get("tool_calls", [])
            ]  # fmt: skip
            found.append((message["role"], [*(thought or []), *as_blocks(message["content"]), *called]))
    return found


def in_blocks(messages):
    """Anthropic's own messages, one block form for all, each result apart, as ``back_to_anthropic`` gives them."""
    found = []
    for message in messages:
        run = []
        for block in as_blocks(message["content"]):
            if block["type"] == "tool_result":
                found += [(message["role"], run)] if run else []
                run = []
                content = as_blocks(block.get("content", ""))
                found.append((message["role"], [{**block, "content": content}]))
            else:
                run.append(block)
        found += [(message["role"], run)] if run else []
    return found


@given(anthropic)
def test_anthropic_blocks_come_back_from_openai_messages(messages):
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"a": 1}}]
    dialogue = comes_back(Dialogue.from_dict({"messages": [*messages, QUESTION], "tools": tools}))
    assert back_to_anthropic(dialogue.messages) == in_blocks([*messages, QUESTION])
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert dialogue.tools == ({"type": "function", "function": function, "cache_control": {"a": 1}},)


def test_an_anthropic_tool_loop_reads_as_openais():
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Look.", "signature": "s"},
            {"type": "text", "text": "Let me see.", "citations": None},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"place": "Oslo", "x": None}},
            {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Rain"}]},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
            {"type": "text", "text": "Go on."},
        ]},
    ]  # fmt: skip
    system = [{"type": "text", "text": "Be brief."}]
    dialogue = comes_back(Dialogue.from_dict({"messages": messages, "system": system}))
    assert dialogue.system == "Be brief."
    assert list(dialogue.messages[1:]) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Look.",
            "thinking_blocks": [{"type": "thinking", "thinking": "Look.", "signature": "s"}],
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": {"place": "Oslo", "x": None}}},
                {"id": "t2", "type": "function", "function": {"name": "weather", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Rain"},
        {"role": "tool", "tool_call_id": "t2", "content": "", "is_error": True},
        {"role": "user", "content": "Go on."},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}], "a thinking block stands behind a text"),
        ([{"type": "tool_use", "id": "1", "name": "f", "input": {}}, {"type": "text", "text": "a"}], "a text block stands behind a tool_use"),
        ([{"type": "tool_use", "id": "1", "name": "f"}], "input of a tool_use block must be an object, not None"),
    ],
)  # fmt: skip
def test_a_block_without_a_place_is_named(content, told):
    with pytest.raises(DialogueError, match=f"message 2: {told}"):
        Dialogue.from_dict({"messages": [QUESTION, {"role": "assistant", "content": content}]})


def test_mistrals_thinking_parts_stay_as_their_template_reads_them():
    for part in ({"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "thinking", "thinking": "Hm", "closed": True}):  # fmt: skip
        message = {"role": "assistant", "content": [part, {"type": "text", "text": "Hi"}]}
        assert Dialogue.from_dict({"messages": [QUESTION, message]}).messages[1] == message


def test_a_called_function_of_sharegpt_is_a_tool_call():
    said = [
        ("system", "Be brief."),
        ("human", "Weather?"),
        ("function_call", '{"name": "weather", "arguments": {"place": "Oslo", "x": 1.0}}'),
        ("observation", '{"rain": 3}'),
        ("gpt", "Rain."),
    ]
    tools = [{"name": "weather", "parameters": {}}]
    record = {
        "conversations": [{"from": who, "value": text, "weight": 0} for who, text in said],
        "tools": json.dumps(tools),
    }
    dialogue = comes_back(Dialogue.from_dict(record))
    assert [message["role"] for message in dialogue.messages] == ["system", "user", "assistant", "tool", "assistant"]
    function = {"name": "weather", "arguments": {"place": "Oslo", "x": 1.0}}
    assert dialogue.messages[2]["tool_calls"] == [{"type": "function", "function": function}]
    assert all(message["weight"] == 0 for message in dialogue.messages)
    assert dialogue.tools == tuple(tools)


def test_prompt_and_completion_may_be_texts_or_messages():
    assert Dialogue.from_dict({"prompt": "a", "completion": "b"}).turns == (Turn(user="a", assistant="b"),)
    assert Dialogue.from_dict({"prompt": "a"}).turns == (Turn(user="a"),)
    several = {"prompt": [QUESTION], "completion": [{"role": "assistant", "content": "a"}, QUESTION, {"role": "assistant", "content": "b"}]}  # fmt: skip
    assert comes_back(Dialogue.from_dict(several)).fields == {"completion_start": 1}


def test_what_stands_beside_the_messages_has_its_place():
    functions = [{"name": "f", "parameters": {}}]
    record = {
        "messages": [QUESTION],
        "functions": functions,
        "enable_thinking": False,
        "chat_template_kwargs": {"x": 1},
    }
    dialogue = comes_back(Dialogue.from_dict({**record, "prompt": "Hi", "score": numpy.float64(0.5)}))
    assert dialogue.tools == ({"type": "function", "function": functions[0]},)
    assert dialogue.variables == {"enable_thinking": False, "x": 1}
    assert dialogue.fields == {"prompt": "Hi", "score": 0.5}


def test_lists_of_pandas_are_lists():
    messages = numpy.array(
        [QUESTION, {"role": "assistant", "content": "Hello", "ids": numpy.array([1, 2])}], dtype=object
    )
    dialogue = comes_back(Dialogue.from_dict({"messages": messages}))
    assert dialogue.messages[1]["ids"] == [1, 2]
    for key in ("conversation", "conversations", "prompt"):
        assert Dialogue.from_dict({key: messages}).messages == dialogue.messages
    turns = numpy.array([{"user": "a", "assistant": "b"}] * 2, dtype=object)
    assert len(Dialogue.from_dict({"turns": turns}).turns) == 2


def test_a_record_whose_id_is_null_has_none():
    records = [{"id": None, "messages": [QUESTION]}, {"id": 0, "messages": [QUESTION]}]
    assert [dialogue.id for dialogue in read_dialogues(records)] == ["1", "0"]


def test_two_completions_are_refused_with_or_without_a_prompt():
    for prompt in ({}, {"prompt": "Q"}):
        with pytest.raises(DialogueError, match="chosen and rejected stand in it, and a dialogue holds one completion"):
            Dialogue.from_dict({**prompt, "chosen": [QUESTION], "rejected": [QUESTION]})


def test_a_completion_that_is_no_reply_keeps_its_start():
    dialogue = Dialogue.from_dict({"prompt": [QUESTION], "completion": [QUESTION]})
    assert dialogue.fields == {"completion_start": 1}


def test_a_field_is_left_out_where_it_is_said_so():
    dialogue = Dialogue.from_dict({"id": "d", "messages": [{**QUESTION, "country": "NO", "weight": 1}]})
    assert dialogue.without("country", "weight").turns == (Turn(user="Hi"),)
    with pytest.raises(DialogueError, match="message 1 has weight, which ChatPromptPhi3 has no place for"):
        fill_prompt(dialogue.without("country"), prompt_class("phi3"))


def test_what_stands_beside_keeps_its_order():
    """Whatever the hash seed: a file is the same bytes each time."""
    beside = {letter: number for number, letter in enumerate("zyxabc")}
    assert list(Dialogue.from_dict({**beside, "messages": [QUESTION]}).to_dict())[:6] == list(beside)


# The plain view, and the calls


def test_a_dialogue_that_is_not_plain_says_so_and_has_calls():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    result = {"role": "tool", "content": "1", "tool_call_id": "a"}
    dialogue = Dialogue(id="d", messages=[QUESTION, call, result, {"role": "assistant", "content": "One."}], system="S")
    with pytest.raises(DialogueError, match="'d' is not plain: message 3 has tool_calls, which turns have no place for; messages and calls"):  # fmt: skip
        _ = dialogue.turns
    assert not dialogue.is_plain
    assert [len(call.messages) for call in dialogue.calls] == [2, 4]
    assert [call.reply_text for call in dialogue.calls] == ["", "One."]
    assert dialogue.calls[0].messages[0] == {"role": "system", "content": "S"}


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"role": "assistant", "content": "a", "reasoning_content": "b"}, "reasoning_content"),
        ({"role": "assistant", "content": "a", "reasoning": "b"}, "reasoning"),
        ({"role": "user", "content": "a", "name": "Ann"}, "name"),
        ({"role": "user", "content": "a", "weight": 0}, "weight"),
        ({"role": "user", "content": [{"type": "image", "image": "x"}]}, "a part of type image"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"a": 1}}]}, "cache_control in a part"),
        ({"role": "tool", "content": "a"}, "role 'tool'"),
        ({"role": "bot", "content": "a"}, "role 'bot'"),
        ({"role": "system", "content": "a"}, "role 'system'"),
    ],
)  # fmt: skip
def test_what_a_prompt_class_has_no_place_for_is_named(message, what):
    dialogue = Dialogue.from_dict(
        {"id": "d", "messages": [QUESTION, {"role": "assistant", "content": "Hello"}, message, QUESTION]}
    )
    with pytest.raises(DialogueError, match=f"'d' is not plain: message 3 has {what}"):
        _ = dialogue.turns
    for place in (lambda: list(prompts_of(dialogue, prompt_class("phi3"))), lambda: fill_prompt(dialogue, prompt_class("phi3"))):  # fmt: skip
        with pytest.raises(DialogueError, match=f"dialogue 'd': .*({what}|no role is called 'bot')"):
            place()


@pytest.mark.parametrize("beside", [{"tools": [{"name": "f"}]}, {"variables": {"enable_thinking": False}}])
def test_tools_and_variables_without_a_place_are_named(beside):
    dialogue = Dialogue(id="d", messages=[QUESTION], **beside)
    with pytest.raises(DialogueError, match="(tools|enable_thinking), which ChatPromptPhi3 has no place for") as caught:
        list(prompts_of(dialogue, prompt_class("phi3")))
    assert "ChatTemplatePrompt over a template" in str(caught.value)
    assert list(prompts_of(Dialogue(id="d", messages=[QUESTION], tools=[]), prompt_class("phi3")))


def test_what_a_template_cannot_be_told_is_the_dialogues_error():
    tokenizer = fast_tokenizer("byte bpe", DUMP)
    for beside in ({"documents": ["a"]}, {"documents": "a"}):
        dialogue = Dialogue.from_dict({"id": "d", "messages": [QUESTION], **beside})
        with pytest.raises(DialogueError, match="dialogue 'd': documents is a list of objects"):
            list(prompts_of(dialogue, lambda: ChatTemplatePrompt(tokenizer)))


def test_empty_fields_say_nothing():
    dialogue = comes_back(Dialogue.from_dict({"messages": [QUESTION, {"role": "assistant", "content": "a", "refusal": None, "tool_calls": []}]}))  # fmt: skip
    assert dialogue.turns == (Turn(user="Hi", assistant="a"),)
    assert "messages" in dialogue.to_dict()


def test_a_greeting_is_no_call():
    greeting = {"role": "assistant", "content": "Welcome!"}
    dialogue = Dialogue(id="d", messages=[greeting, QUESTION, {"role": "assistant", "content": "Hello"}])
    assert [len(call.messages) for call in dialogue.calls] == [2]


def test_a_part_is_replaced_and_the_rest_stays():
    dialogue = Dialogue(id="d", turns=[Turn(user="a")], system="S", labels={"x": 1}, tools=[], variables={"y": 1})
    other = dialogue.replace(turns=[Turn(user="b", assistant="c")])
    assert (other.system, other.turns, other.labels) == ("S", (Turn(user="b", assistant="c"),), {"x": 1})
    assert dialogue.replace(system=None).messages == ({"role": "user", "content": "a"},)
    assert (other.tools, other.variables) == ((), {"y": 1})


# What reaches a chat template

DUMP = "{{ messages | tojson(sort_keys=True) }}{{ tools | tojson(sort_keys=True) }}{{ add_generation_prompt }}{{ enable_thinking }}"


@settings(max_examples=100)
@given(openai_messages, st.none() | st.lists(schemas), st.none() | texts, st.fixed_dictionaries({}, optional={"enable_thinking": st.booleans()}))  # fmt: skip
def test_the_messages_that_reach_a_template_are_those_of_apply_chat_template(messages, tools, system, variables):
    tokenizer = fast_tokenizer("byte bpe", DUMP)
    head = [] if system is None else [{"role": "system", "content": system}]
    record = {"messages": [*head, *messages, QUESTION], "variables": variables, "tools": tools}
    dialogue = Dialogue.from_dict(record)
    made = [prompt.create_prompt() for _, prompt in prompts_of(dialogue, lambda: ChatTemplatePrompt(tokenizer))]
    everything = record["messages"]
    asked = [at for at, m in enumerate(everything) if m["role"] == "assistant" and any(n["role"] not in ("assistant", "system", "developer") for n in everything[:at])]  # fmt: skip
    wanted = [
        tokenizer.apply_chat_template(
            everything[:at], tools=tools, add_generation_prompt=True, tokenize=False, **variables
        )
        for at in (*asked, len(everything))
    ]
    assert made == wanted
    assert [list(call.messages) for call in dialogue.calls] == [everything[:at] for at in (*asked, len(everything))]


def test_a_dialogue_comes_back_from_its_template_prompt():
    call = {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.0}}}]}
    dialogue = Dialogue(id="d", messages=[QUESTION, call], tools=[{"name": "f"}], variables={"enable_thinking": True})
    prompt = fill_prompt(dialogue, lambda: ChatTemplatePrompt(fast_tokenizer("byte bpe", DUMP)))
    assert dialogue_of(prompt, id="d") == dialogue
