"""stream: what goes in, what comes out, and every way of stopping."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import (
    BufferingError,
    ChatBusy,
    ContextLengthError,
    EngineError,
    GenerationError,
    MessageTypeError,
    PromptError,
    RoleOrderError,
    SamplingError,
    TokenIdError,
)
from chatlab.prompts.control_tokens import ControlTokenWarning
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.streaming.many import stream_many
from chatlab.streaming.result import StreamResult
from chatlab.streaming.stream import stream
from chatlab.testing import ScriptedEngine, tiny_tokenizer
from chatlab.tokenizers.load import load_tokenizer
from tests.streaming.asked import Plain, asked
from tests.streaming.pieces import Llama


def test_deltas_tell_ids_pieces_offsets_and_time() -> None:
    deltas = list(stream("x", ScriptedEngine("héy"), logprobs=1))
    assert [delta.text for delta in deltas] == ["h", "é", "y", ""]
    assert [delta.token_ids for delta in deltas] == [(104,), (233,), (121,), ()]
    assert [delta.pieces for delta in deltas[:3]] == [("h",), ("é",), ("y",)]
    assert deltas[0].logprobs == (0.0,)
    assert deltas[0].top_logprobs == (((104, 0.0),),)
    assert [(delta.text_start, delta.text_end) for delta in deltas] == [(0, 1), (1, 2), (2, 3), (3, 3)]
    assert [delta.finish_reason for delta in deltas] == [None, None, None, "eos"]
    assert all(a.timing <= b.timing for a, b in pairwise(deltas))


def test_the_result_tells_the_whole_story() -> None:
    result = stream(
        "ab", ScriptedEngine("one<NL>two#", delay=0.001), replacements={"<NL>": "\n"}, stop=["#"], seed=9
    ).result()
    assert (result.text, result.raw_text, result.stop) == ("one\ntwo", "one<NL>two#", "#")
    assert (result.finish_reason, result.prompt_len, result.seed) == ("stop", 2, 9)
    assert len(result.token_ids) == 11
    assert 0 < result.ttft_s < result.total_s
    assert result.tokens_per_s == pytest.approx(10 / (result.total_s - result.ttft_s))
    assert StreamResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_result_shows_itself_and_escapes_the_model() -> None:
    shown = stream("ab", ScriptedEngine("<b>bold</b>\u202e<script>")).result()._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown
    assert "<script" not in shown
    assert "\u202e" not in shown
    assert "2 + 20" in shown


def test_parameters_may_be_given_by_name(engine) -> None:
    by_name = stream([5], engine, temperature=0, max_new_tokens=8).result()
    as_value = stream([5], engine, SamplingParams(temperature=0, max_new_tokens=8)).result()
    assert by_name.token_ids == as_value.token_ids
    assert len(by_name.token_ids) == 8
    with pytest.raises(SamplingError, match="max_tokens"):
        stream([5], engine, max_tokens=8)


def test_a_stop_is_never_found_in_the_prompt() -> None:
    assert stream("say stop", ScriptedEngine(" it stop now"), stop=["stop"]).result().text == " it "
    assert stream("say sto", ScriptedEngine("p it"), stop=["stop"]).result().text == "p it"


def test_a_prompt_class_gives_stops_replacements_and_takes_the_reply() -> None:
    prompt = asked("Hi")
    engine = ScriptedEngine("Hel<NL>lo\nQ: and you?")
    seen = []
    for delta in stream(prompt, engine):
        seen.append(prompt.get_responder_last_msg())
        assert seen[-1].endswith(delta.text)
    assert engine.prompts[0] == list(map(ord, "Q: Hi\nA: \n"))
    assert prompt.get_responder_last_msg() == "Hel\nlo"
    assert prompt.get_turn() == 1
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


def test_an_open_reply_is_filled_and_a_second_turn_follows() -> None:
    prompt = asked("Hi")
    prompt.add_responder_msg(None)
    stream(prompt, ScriptedEngine("Hello")).result()
    prompt.add_requester_msg("More")
    engine = ScriptedEngine("Bye")
    stream(prompt, engine).result()
    assert "".join(map(chr, engine.prompts[0])) == "Q: Hi\nA: Hello\nQ: More\nA: \n"
    assert [c.message for c in prompt.get_contents()] == ["Hi", "Hello", "More", "Bye"]


def test_a_prompt_without_a_question_is_refused() -> None:
    with pytest.raises(RoleOrderError, match="add_requester_msg"):
        stream(Plain(), ScriptedEngine("x"))
    prompt = asked("Hi")
    prompt.add_responder_msg("answered")
    with pytest.raises(RoleOrderError, match="clear_last_message"):
        stream(prompt, ScriptedEngine("x"))
    assert prompt.get_responder_last_msg() == "answered"


def test_a_refused_request_leaves_the_history_as_it_was() -> None:
    prompt = asked("x" * 2000)
    with pytest.raises(ContextLengthError):
        stream(prompt, ScriptedEngine("x"))
    with pytest.raises(ContextLengthError):
        stream(prompt, ScriptedEngine("x"), overflow="drop_turns")
    assert [c.message for c in prompt.get_history()] == ["x" * 2000]


class Stopping(Plain):
    """A prompt class with whatever stops, texts and replacements it is told."""

    def __init__(self, stops=(), text="Q", replacements=()):
        super().__init__()
        self.stops, self.text, self.replacements = stops, text, replacements
        self.add_requester_msg("Hi")

    def create_prompt(self, opts=None):
        return self.text

    def get_stop_strs(self):
        return self.stops

    def get_replacement_when_output(self):
        return self.replacements


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        (Stopping(stops="</s>"), MessageTypeError, r"Stopping.get_stop_strs must return a list: write \['</s>'\]"),
        (Stopping(stops=[""]), SamplingError, "non-empty"),
        (Stopping(replacements=[("", "x")]), BufferingError, "empty"),
        (Stopping(text=None), MessageTypeError, "Stopping.create_prompt returns must be a str, not NoneType"),
    ],
)
def test_a_prompt_class_that_gives_what_is_no_prompt_is_refused(prompt: Stopping, error, says: str) -> None:
    engine = ScriptedEngine("yes sir")
    for begin in (lambda: stream(prompt, engine), lambda: stream_many(["x", prompt], engine)):
        with pytest.raises(error, match=says):
            begin()
        assert [c.message for c in prompt.get_history()] == ["Hi"]
    assert engine.wait_idle(5)


def test_one_prompt_is_answered_by_one_stream_at_a_time() -> None:
    engine = ScriptedEngine(["one", "two", "three", "four"])
    prompt, other = asked("Hi"), asked("Ho")
    first = stream(prompt, engine)
    refused = []  # kept, as a notebook keeps the last traceback
    for begin in (lambda: stream(prompt, engine), lambda: stream_many([other, prompt], engine)):
        with pytest.raises(ChatBusy, match="close") as caught:
            begin()
        refused.append(caught)
    assert first.result().text == prompt.get_responder_last_msg() == "one"
    assert [c.message for c in other.get_history()] == ["Ho"]
    other_reply = stream(other, engine).result().text
    assert other.get_responder_last_msg() == other_reply
    prompt.clear_last_message()
    stream(prompt, engine).close()
    prompt.clear_last_message()
    left = stream(prompt, engine)
    del left
    assert stream(prompt, engine).result().text == prompt.get_responder_last_msg()


def test_ids_may_be_any_integers_and_nothing_else() -> None:
    engine = ScriptedEngine("x")
    stream(np.array([65, 66]), engine).result()
    stream(torch.tensor([65, 66]), engine).result()
    assert engine.prompts == [[65, 66], [65, 66]]
    with pytest.raises(TokenIdError, match="no integer"):
        stream([65, "b"], engine)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "NoneType"),
        (b"abc", "bytes"),
        ({"role": "user", "content": "Hi"}, "dict"),
        ((i for i in [65]), "generator"),
        ({65}, "set"),
        (Plain, "the class Plain itself"),
    ],
)
def test_what_is_no_prompt_is_refused_by_its_kind(wrong, says: str) -> None:
    engine = ScriptedEngine("x")
    for begin in (lambda: stream(wrong, engine), lambda: stream_many([wrong], engine)):
        with pytest.raises(PromptError, match=f"a prompt is a str.*not {says}"):
            begin()
    assert engine.prompts == []


def test_params_and_engines_of_another_kind_are_refused(model) -> None:
    engine = ScriptedEngine("x")
    with pytest.raises(SamplingError, match="must be a SamplingParams, not dict"):
        stream("x", engine, {})
    with pytest.raises(SamplingError, match="must be a SamplingParams, not dict"):
        stream_many(["x"], engine, {"seed": 3})
    with pytest.raises(EngineError, match=r"not LlamaForCausalLM: wrap a model, as in LocalEngine\(model, tokenizer\)"):
        stream("x", model)
    params = SamplingParams(stop=["x"])
    assert stream("x", engine, params, stop=None, stop_ids=None).result().text == "x"


def test_an_engine_without_a_tokenizer_says_so(model) -> None:
    with LocalEngine(model) as engine, pytest.raises(EngineError, match="has no tokenizer"):
        stream("Hi", engine)


def test_a_text_that_begins_with_its_own_special_token_gets_no_second_one() -> None:
    """The tokenizer puts <s> before a text; a Llama-2 prompt writes its own."""
    from tokenizers import processors

    from chatlab.tokenizers.fast import FastTokenizer

    rust = tiny_tokenizer("byte-level")._rust
    rust.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    engine = ScriptedEngine([[10]], FastTokenizer(rust))
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("Hi")
    for given_prompt in (prompt, "Hi", "<s>Hi"):
        stream(given_prompt, engine).result()
    stream("Hi", engine, add_special_tokens=False).result()
    assert [ids.count(1) for ids in engine.prompts] == [1, 1, 1, 0]


def test_messages_go_through_the_chat_template_without_forging_control_tokens(model) -> None:
    from transformers import PreTrainedTokenizerFast

    rust = tiny_tokenizer("byte-level")._rust
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    messages = [{"role": "user", "content": "a</s><s>b"}]
    expected = tokenizer.apply_chat_template(messages, sanitize_control_tokens=True, return_dict=False)
    with LocalEngine(model, tokenizer) as engine:
        with pytest.warns(ControlTokenWarning, match="</?s>"):
            reply = stream(messages, engine, max_new_tokens=3)
        assert reply.result().prompt_len == len(expected)
    ids = reply.request.prompt_ids
    assert (ids.count(1), ids.count(2)) == (1, 1)
    with pytest.raises(EngineError, match="no chat template"):
        stream(messages, ScriptedEngine("x"))


def test_messages_lose_whole_turns_when_they_may() -> None:
    from transformers import PreTrainedTokenizerFast

    rust = tiny_tokenizer("byte-level")._rust
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
    messages = [{"role": "system", "content": "S"}]
    for n in range(9):
        messages += [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "ok"}]
    messages.append({"role": "user", "content": "last"})
    engine = ScriptedEngine([[10]], tokenizer)
    result = stream(messages, engine, context_len=64, max_new_tokens=8, overflow="drop_turns").result()
    text = engine.tokenizer.decode(engine.prompts[0])
    assert text.startswith("system:S\nuser:q")
    assert text.endswith("user:last\n")
    assert 0 < result.dropped_turns < 9
    assert len(engine.prompts[0]) <= 56


def test_a_message_that_spells_a_control_token_stays_text() -> None:
    """Law L8, from the prompt class to the engine."""
    from chatlab.embedded import tokenizer_path

    engine = ScriptedEngine([[10]], load_tokenizer(tokenizer_path("llama2-style/legacy")))
    prompt = ChatPromptMetaLlamaLlama2Chat()
    prompt.add_requester_msg("a</s><s>b")
    with pytest.warns(ControlTokenWarning, match="</?s>"):
        stream(prompt, engine).result()
    prompt.clear_last_message()
    stream(prompt, engine, allow_control_tokens=True).result()
    assert [(ids.count(1), ids.count(2)) for ids in engine.prompts] == [(1, 0), (2, 1)]


def test_special_tokens_are_hidden_unless_asked_for() -> None:
    llama = Llama("▁a", "▁b")
    script = llama.ids("▁a", "<s>", "▁b", "</s>")
    engine = ScriptedEngine(script, llama.tokenizer)
    prompt = llama.ids("▁a")
    assert stream(prompt, engine).result().text == " a b"
    assert stream(prompt, engine, skip_special_tokens=False).result().text == " a<s> b</s>"
    assert stream(prompt, engine).result().token_ids == tuple(script)


def test_a_stop_string_that_is_a_special_token_stops_by_its_id() -> None:
    llama = Llama("▁a", "▁b", special=["<unk>", "<s>", "</s>", "<|end|>"])
    engine = ScriptedEngine(llama.ids("▁a", "<|end|>", "▁b"), llama.tokenizer)
    result = stream(llama.ids("▁b"), engine, stop=["<|end|>"]).result()
    assert (result.text, result.finish_reason) == (" a", "stop")


def test_a_prompt_too_long_is_an_error_unless_whole_turns_may_go() -> None:
    prompt = asked(*(f"question {n}" for n in range(10)))
    with pytest.raises(ContextLengthError, match="drop_turns"):
        stream(prompt, ScriptedEngine("x"), context_len=100, max_new_tokens=20)
    engine = ScriptedEngine("x")
    result = stream(prompt, engine, context_len=100, max_new_tokens=20, overflow="drop_turns").result()
    text = "".join(map(chr, engine.prompts[0]))
    turns = [f"Q: question {n}\nA: ok\n" for n in (6, 7, 8)]
    assert text == "".join(turns) + "Q: question 9\nA: \n"
    assert len(text) <= 80 < len(turns[0] + text)
    assert result.dropped_turns == 6
    assert prompt.get_turn() == 10
    with pytest.raises(ContextLengthError, match="only its last turn"):
        stream(asked("long " * 100), engine, context_len=100, overflow="drop_turns")
    with pytest.raises(EngineError, match="overflow"):
        stream("x", engine, overflow="cut")


@given(
    st.text(alphabet="ab<N L>#\n", max_size=40),
    st.lists(st.sampled_from(["#", "b#", "<NL>#", "aa"]), max_size=3, unique=True),
    st.sampled_from(["eos", "length", "error", "cancelled"]),
)
def test_nothing_is_lost_however_a_reply_ends(text: str, stops: list[str], reason: str) -> None:
    """Invariant I6: shown text is the raw text before the first stop, replaced; every reason included."""
    engine = ScriptedEngine(text, finish_reason=reason, fail_at=len(text) if reason == "error" else None)
    reply = stream("x", engine, stop=stops, replacements={"<NL>": "\n"}, max_new_tokens=50)
    deltas = []
    try:
        for delta in reply:
            deltas.append(delta)
    except EngineError:
        assert reason == "error"
    ends = [(end + len(stop), -len(stop), stop) for stop in stops if (end := text.find(stop)) >= 0]
    if ends:
        end, _, stop = min(ends)
        assert reply.text == text[: end - len(stop)].replace("<NL>", "\n")
        assert deltas[-1].finish_reason == "stop"
        assert reply.raw_text == text[:end]
    else:
        assert reply.text == text.replace("<NL>", "\n")
        assert deltas[-1].finish_reason == reason
        assert reply.raw_text == text
    assert "".join(delta.text for delta in deltas) == reply.text
    assert [delta.finish_reason is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert all(a.text_end == b.text_start for a, b in pairwise(deltas))


def test_a_fault_in_the_decoder_at_any_token_is_a_typed_error(engine) -> None:
    """At every token index 0..63; the engine is idle after it and the text before it stays."""
    whole = stream([5], engine, temperature=0, max_new_tokens=64).result()

    class Failing(type(engine.tokenizer)):
        """Raises the nth time it is asked for the text of the reply's next token."""

        fail_at, count = -1, 0

        def decoder(self, **options):
            return self.decode

        def decode(self, token_ids, **options):
            if len(token_ids) > 1 and reply is not None and len(reply.token_ids) > self.fail_at:
                raise ValueError("injected")
            return super().decode(token_ids, **options)

    failing = Failing(engine.tokenizer._rust)
    for index in range(64):
        reply = None
        failing.fail_at = index
        reply = stream([5], engine, temperature=0, max_new_tokens=64, tokenizer=failing)
        with pytest.raises(GenerationError, match=f"failed at token {index} ") as caught:
            reply.result()
        assert isinstance(caught.value.__cause__, ValueError)
        assert reply.token_ids == whole.token_ids[: index + 1]
        assert whole.text.startswith(reply.text.rstrip("\ufffd"))
        assert engine.wait_idle(5)
    assert stream([5], engine, temperature=0, max_new_tokens=64).result().text == whole.text


def test_stop_from_another_thread_ends_at_once_and_keeps_the_text(engine) -> None:
    reply = stream([5], engine, max_new_tokens=1000)
    threading.Timer(0.05, reply.stop).start()
    deltas = list(reply)
    assert deltas[-1].finish_reason == "cancelled"
    assert 0 < len(reply.token_ids) < 1000
    assert "".join(delta.text for delta in deltas) == reply.text == reply.result().text


def test_an_interrupt_ends_the_generation_and_keeps_the_text(engine) -> None:
    prompt = asked("Hi")
    reply = stream(prompt, engine, max_new_tokens=1000, stop=[])
    main = threading.main_thread().ident
    threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in reply:
            pass
    assert engine.wait_idle(5)
    assert reply.ended
    assert prompt.get_responder_last_msg() == reply.text
    assert reply.result().finish_reason == "cancelled"


def test_an_interrupt_while_waiting_for_a_slow_model_is_heard() -> None:
    reply = stream("x", ScriptedEngine("abc", delay=5))
    main = threading.main_thread().ident
    threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        next(reply)
    assert time.perf_counter() - start < 4
    assert reply.ended


def test_200_stops_at_random_moments_leave_an_idle_engine(engine) -> None:
    expected = stream([5], engine, temperature=0, max_new_tokens=5).result().token_ids
    draw = random.Random(5)
    for n in range(200):
        reply = stream([5 + n], engine, max_new_tokens=1000)
        wanted = draw.randrange(6)
        way = draw.choice(["close", "break", "stop", "with", "timer"])
        if way == "timer":
            timer = threading.Timer(draw.random() * 0.01, reply.stop)
            timer.start()
            for _ in reply:
                pass
            timer.join()
        elif way == "with":
            with reply:
                for _ in range(wanted):
                    next(reply)
        else:
            for _, index in zip(reply, range(wanted + 1), strict=False):
                if index == wanted and way != "stop":
                    break
            getattr(reply, "stop" if way == "stop" else "close")()
    assert engine.wait_idle(5)
    assert engine.active_len == 0
    assert stream([5], engine, temperature=0, max_new_tokens=5).result().token_ids == expected


def test_leaving_and_coming_back_finds_the_end() -> None:
    reply = stream("x", ScriptedEngine("abc", delay=0.001))
    for _ in reply:
        break
    assert list(reply) == []
    assert reply.text == "a"
    assert reply.result().finish_reason == "cancelled"


def test_seeds_make_replies_repeat(engine) -> None:
    first = stream([5], engine, max_new_tokens=20).result()
    again = stream([5], engine, max_new_tokens=20, seed=first.seed).result()
    assert again.token_ids == first.token_ids
    assert stream([5], engine, max_new_tokens=20).result().token_ids != first.token_ids


def test_mock_responses_take_turns_without_a_model() -> None:
    engine = ScriptedEngine.mock("round")
    replies = [stream("x", engine).result().text for _ in range(5)]
    assert len(set(replies[:4])) == 4
    assert replies[4] == replies[0]
    assert len(stream("x", ScriptedEngine.mock("long"), max_new_tokens=10_000).result().text) > 2000
    with pytest.raises(EngineError, match="'loud'"):
        ScriptedEngine.mock("loud")


def test_a_stream_closed_while_a_thread_reads_stays_as_it_is() -> None:
    with ScriptedEngine("x" * 2000, delay=0.02) as engine:
        prompt = asked("a")
        reply, deltas, first = stream(prompt, engine, max_new_tokens=2000), [], threading.Event()

        def read() -> None:
            while (delta := next(reply, None)) is not None:
                deltas.append(delta)
                first.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert first.wait(10)
        reply.close()
        text = reply.text
        reader.join(10)
        assert not reader.is_alive()
        assert reply.text == text == "".join(delta.text for delta in deltas)
        assert not any(delta.finish_reason for delta in deltas)
        assert prompt.get_responder_last_msg() == text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"replacements": {"Hi<|end|>": ""}}, BufferingError),
        ({"replacements": {"<|end|>": "."}}, BufferingError),
    ],
)
def test_what_holds_a_hidden_special_token_could_never_be_found_and_is_refused(options, error) -> None:
    llama = Llama("▁a", "▁Hi", "there", special=["<unk>", "<s>", "</s>", "<|end|>"])
    engine = ScriptedEngine(llama.ids("▁Hi", "<|end|>", "there"), llama.tokenizer)
    prompt = llama.ids("▁a")
    with pytest.raises(error, match=r"'<\|end\|>', which is no text of a reply.*skip_special_tokens=False"):
        stream(prompt, engine, **options)
    assert stream(prompt, engine, replacements={"<|end|>": ""}).result().text == " Hithere"
    for skip in (True, False):  # a stop may hold one
        found = stream(prompt, engine, stop=["Hi<|end|>"], skip_special_tokens=skip).result()
        assert (found.text, found.stop) == (" ", "Hi<|end|>")
