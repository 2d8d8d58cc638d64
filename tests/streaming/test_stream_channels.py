"""A stream with channels: the same reply, told by channel; special tokens by id; stops that mix both; what follows one."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from chatlab.errors import BufferingError, ChannelError
from chatlab.prompts.formats.registry import prompt_class
from chatlab.streaming.many import stream_many
from chatlab.streaming.result import Delta, StreamResult
from chatlab.streaming.stream import TextStream, astream, stream
from chatlab.testing import CodePointTokenizer, ScriptedEngine

HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>", "<|constrain|>")
THOUGHT = "<think>\nHm <b>.\n</think>\n\nHi"


class Spelled(CodePointTokenizer):
    """Characters, and special tokens with ids of their own."""

    special_strs: Mapping[str, int] = {text: 0x100000 + number for number, text in enumerate((*HARMONY, "<|im_end|>"))}

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        names = {token_id: "" if skip_special_tokens else text for text, token_id in self.special_strs.items()}
        return "".join(names[i] if i in names else chr(i) for i in token_ids)

    def ids(self, text: str) -> list[int]:
        """Each special token by its id."""
        parts = self.special_pattern.split(text)
        found = self.special_pattern.findall(text)
        ids = list(map(ord, parts[0]))
        for token, part in zip(found, parts[1:], strict=True):
            ids += [self.special_strs[token], *map(ord, part)]
        return ids


def answer(text: str | list[int], prompt: str = "Q", **options: Any) -> TextStream:
    """A stream of a reply in which special tokens come by id."""
    tokenizer = Spelled()
    ids = tokenizer.ids(text) if isinstance(text, str) else text
    return stream(tokenizer.ids(prompt), ScriptedEngine([ids], tokenizer), **options)


def by_channel(deltas: list[Delta]) -> dict[str, str]:
    found: dict[str, str] = {}
    for delta in deltas:
        found[delta.channel] = found.get(delta.channel, "") + delta.text
    return {channel: text for channel, text in found.items() if text}


def check_law(deltas: list[Delta], reply: Any) -> None:
    assert "".join(d.delimiter + d.text for d in deltas) == reply.text
    assert "".join(d.raw for d in deltas) == reply.raw_text
    assert [i for d in deltas for i in d.token_ids] == list(reply.token_ids)
    assert all(reply.text[d.text_start : d.text_end] == d.text for d in deltas)
    assert [d.finish_reason is not None for d in deltas] == [False] * (len(deltas) - 1) + [True]
    told: dict[int, list[tuple[int, int]]] = {}
    for delta in deltas:
        spans = delta.token_spans
        assert not delta.text or (spans[0][0], spans[-1][1]) == (delta.text_start, delta.text_end)
        assert all(left[1] == right[0] for left, right in zip(spans, spans[1:], strict=False))
        for at, span in enumerate(spans):
            told.setdefault(delta.first_token + at, []).append(span)
    assert sorted(told) == list(range(len(reply.token_ids)))


def test_a_stream_tells_the_channel_of_each_delta() -> None:
    reply = answer(THOUGHT, channels="qwen3")
    deltas = list(reply)
    assert by_channel(deltas) == {"reasoning": "Hm <b>.", "content": "Hi"}
    check_law(deltas, reply)
    assert reply.message() == {"role": "assistant", "content": "Hi", "reasoning_content": "Hm <b>."}


def test_channels_change_nothing_in_the_reply() -> None:
    """Text, ids, reason, what goes into the history: as without them."""
    plain, split = (answer(THOUGHT, channels=channels, stop=["i"]) for channels in (None, "qwen3"))
    whole, told = plain.result(), split.result()
    assert (whole.text, whole.raw_text, whole.token_ids, whole.stop) == (
        told.text,
        told.raw_text,
        told.token_ids,
        told.stop,
    )
    prompts = []
    for channels in (None, "think"):
        prompts.append(prompt_class("chatml")())
        prompts[-1].add_requester_msg("Q")
        stream(prompts[-1], ScriptedEngine("<think>a</think>b"), channels=channels).result()
    assert prompts[0].create_prompt() == prompts[1].create_prompt()


def test_special_tokens_delimit_by_id_and_what_looks_like_them_does_not() -> None:
    tokenizer = Spelled()
    call = '{"a": "<|call|>"}'  # spelled
    ids = (
        tokenizer.ids("<|channel|>analysis<|message|>Say ")
        + list(map(ord, "<|end|>"))
        + tokenizer.ids("!<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>")
        + list(map(ord, call))
        + tokenizer.ids("<|call|>")
    )
    reply = answer(ids, "<|start|>assistant", channels="auto")
    deltas = list(reply)
    check_law(deltas, reply)
    message = reply.message()
    assert message["reasoning_content"] == "Say <|end|>!"
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": call}
    assert reply.result().message() == message
    assert StreamResult.from_dict(reply.result().to_dict()) == reply.result()


@pytest.mark.parametrize("skip_special_tokens", [True, False])
def test_any_reply_keeps_the_law_whatever_delimits_it(skip_special_tokens: bool) -> None:
    """Also with stops of special tokens and text, shown or not, replacements, and a cut."""
    draw = random.Random(5)
    parts = [
        *HARMONY,
        "analysis",
        "final",
        "commentary",
        " to=f",
        "a",
        "<",
        "<think>",
        "</think>",
        "<N>",
        '"',
        "\n",
        "#",
    ]
    for _ in range(150):
        text = "".join(draw.choices(parts, k=draw.randint(0, 14)))
        stops = draw.sample(["##", "<|end|>a", "a<|call|>", "<|im_end|>", "\n<|start|>"], draw.randint(0, 3))
        reply = answer(
            text,
            channels=draw.choice(["harmony", "think", (("reasoning", "<", ">"),)]),
            stop=stops,
            replacements={"<N>": "\n"},
            include_stop_str_in_output=draw.random() < 0.5,
            skip_special_tokens=skip_special_tokens,
        )
        check_law(list(reply), reply)


def test_the_prompt_tells_where_the_reply_begins() -> None:
    assert by_channel(list(answer("Hm\n</think>\n\nHi", "Q<think>\n", channels="qwen3"))) == {
        "reasoning": "Hm", "content": "Hi"
    }  # fmt: skip


def test_auto_asks_the_prompt_class_and_finds_nothing_where_nothing_is_told() -> None:
    prompt = prompt_class("deepseek-r1-distill")()
    prompt.add_requester_msg("Q")
    reply = stream(prompt, ScriptedEngine("Hm</think>Hi"), channels="auto")
    assert by_channel(list(reply)) == {"reasoning": "Hm", "content": "Hi"}
    plain = stream("Q", ScriptedEngine(THOUGHT), channels="auto")
    assert by_channel(list(plain)) == {"content": THOUGHT}
    assert plain.request.channels is not None
    assert plain.request.channels.name == "plain"


@pytest.mark.parametrize("channels", ["qwen33", 3, [("reasoning", "<")], "nothing"])
def test_channels_that_are_none_are_refused_before_the_engine_is_asked(channels: Any) -> None:
    engine = ScriptedEngine("Hi")
    with pytest.raises(ChannelError):
        stream("Q", engine, channels=channels)
    assert not engine.prompts


@pytest.mark.parametrize("channels", [None, "think"])
def test_a_delta_is_frozen_and_like_one_made_by_hand(channels: str | None) -> None:
    for delta in answer("a<think>b", channels=channels):
        told = {field.name: getattr(delta, field.name) for field in fields(Delta)}
        assert type(delta) is Delta
        assert delta == Delta(**told) == pickle.loads(pickle.dumps(delta)) == replace(delta)
        assert hash(delta) == hash(Delta(**told))
        with pytest.raises(FrozenInstanceError):
            delta.text = ""  # type: ignore[misc]


def test_without_channels_all_is_content() -> None:
    reply = answer(THOUGHT)
    assert {delta.channel for delta in reply} == {"content"}
    assert reply.message() == {"role": "assistant", "content": THOUGHT}
    assert reply.passages == ()


@pytest.mark.parametrize(
    ("text", "stop", "shown"),
    [
        ("ab<|im_end|>\nUser: x", "<|im_end|>\nUser:", "ab"),
        ("a\n<|start|>b", "\n<|start|>", "a"),
        ("a<|end|>b<|end|>c", "<|end|>c", "ab"),
    ],
)
def test_a_stop_of_special_tokens_and_text_is_found(text: str, stop: str, shown: str) -> None:
    result = answer(text, stop=[stop]).result()
    assert (result.text, result.stop, result.finish_reason) == (shown, stop, "stop")


def test_text_that_looks_like_a_special_token_is_no_part_of_such_a_stop() -> None:
    result = answer(list(map(ord, "a<|end|>b")), stop=["<|end|>b"]).result()
    assert (result.text, result.stop) == ("a<|end|>b", None)


@pytest.mark.parametrize("stop", ["c", "c<|im_end|>", "<|im_end|>"])
def test_the_stop_is_shown_where_that_is_asked_for(stop: str) -> None:
    reply = answer("abc<|im_end|>d", stop=[stop], include_stop_str_in_output=True)
    deltas = list(reply)
    assert reply.text == "".join(d.text for d in deltas) == "abc<|im_end|>d".partition(stop)[0] + stop
    assert (reply.result().stop, reply.result().finish_reason) == (stop, "stop")
    assert deltas[-1].token_spans[-1][1] == len(reply.text)


def test_what_follows_a_stop_stays_obtainable() -> None:
    class Words(CodePointTokenizer):
        def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
            return "".join(["one STOP two ", "!"][i] for i in token_ids)

    reply = stream([1], ScriptedEngine([[0, 1]], Words()), stop=["STOP"])
    assert reply.result().text == "one "
    assert reply.rest == reply.result().rest == " two "
    assert answer("ab", stop=["x"]).result().rest == ""


def test_a_replacement_of_a_special_token_is_still_refused() -> None:
    with pytest.raises(BufferingError, match="special token"):
        answer("a", replacements={"<|end|>": "x"})


def test_a_cut_reply_gives_what_was_held_of_each_channel() -> None:
    reply = answer("<think>\nHm\n</thi", channels="qwen3")
    deltas = [next(reply) for _ in range(14)]
    reply.close()
    deltas += list(reply)
    assert by_channel(deltas)["reasoning"].startswith("Hm\n<")
    assert "".join(d.delimiter + d.text for d in deltas) == reply.text


def test_all_kinds_of_streams_give_all_deltas_of_a_step() -> None:
    class Words(CodePointTokenizer):
        def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
            return "".join(["Q", "<think>a</think>b", "c"][i] for i in token_ids)

    def engine() -> ScriptedEngine:
        return ScriptedEngine([[1, 2]], Words())

    async def read() -> list[Delta]:
        return [delta async for delta in astream([0], engine(), channels="think")]

    shown = [("reasoning", "a"), ("content", "bc")]
    one = list(stream([0], engine(), channels="think"))
    assert list(by_channel(one).items()) == shown
    assert list(by_channel(asyncio.run(read())).items()) == shown
    both = list(stream_many([[0], [0]], engine(), channels="think"))
    for row in (0, 1):
        assert list(by_channel([delta for delta in both if delta.row == row]).items()) == shown
