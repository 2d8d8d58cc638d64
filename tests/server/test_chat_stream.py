"""The class: its documented options, each with what it does."""

from __future__ import annotations

import io
import logging
import time

import pytest
import torch

from chatlab import ChatPromptMetaLlamaLlama2Chat, ChatStream, LocalEngine, load_tokenizer
from chatlab.embedded import model_path
from chatlab.errors import EngineError, SamplingError, ServerError
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.server.request_handler import SimpleSessionRequestHandler
from chatlab.server.serving import Serving
from chatlab.testing import ScriptedEngine, tiny_llama, tiny_tokenizer
from tests.server.live import MOCK, ask, events_of, mocked, served, whole

SSE = {"accept": "text/event-stream"}


class Recorder(ScriptedEngine):
    """Remembers how each request was to be answered."""

    def submit(self, prompt_ids, params=None, *, seed=None):
        self.asked = params
        return super().submit(prompt_ids, params, seed=seed)


def recorded(**options):
    """What a request of a ChatStream with these options is answered by."""
    engine = Recorder("Hello you")
    with served(ChatStream(engine=engine, chat_prompt_clazz=ChatPromptVicuna, **options)) as client:
        assert whole(ask(client)) == "Hello you"
    return engine.asked


def test_the_defaults_are_the_seeds():
    chat_stream, params = ChatStream(), ChatStream().params
    assert (params.max_new_tokens, params.context_len, params.temperature) == (256, 1024, 1.0)
    assert (params.top_k, params.top_p, params.repetition_penalty) == (50, 1.0, None)
    assert params.repetition_penalty_method == "multiplicative"
    load = chat_stream.serving.admission.load()
    assert (load.max_running, load.max_waiting) == (2, 5)
    assert chat_stream.allowed_hosts is None
    assert chat_stream.logger is logging.getLogger("chatlab.server")
    assert type(chat_stream.request_handler) is SimpleSessionRequestHandler


def test_the_option_listing_of_the_article_runs():
    """``: int =`` in it aside, and with ``type``, the builtin, as a key; without a model the first request is told so."""
    chat_stream = ChatStream(
        model=None,
        tokenizer=None,
        device=None,
        num_of_concurrent_executions=2,
        max_queue_size=5,
        too_many_request_as_http_error=False,
        use_mock_response=False,
        mock_params={type: "round"},
        chat_prompt_clazz=None,
        max_new_tokens=256,
        context_len=1024,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        repetition_penalty=None,
        repetition_penalty_method="multiplicative",
        add_special_tokens=None,
        request_handler=SimpleSessionRequestHandler(),
        logger=None,
    )
    with served(chat_stream) as client:
        told = ask(client)
    assert (told.status_code, told.json()["error"]) == (500, "no_model")
    assert "model=" in told.json()["detail"]


def test_the_construction_of_the_article_runs():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    model = AutoModelForCausalLM.from_pretrained(model_path(), torch_dtype=torch.float16)
    model.to(device)
    chat_stream = ChatStream(
        num_of_concurrent_executions=2,
        max_queue_size=5,
        model=model,
        tokenizer=tokenizer,
        device=device,
        chat_prompt_clazz=ChatPromptMetaLlamaLlama2Chat,
    )
    assert isinstance(chat_stream.serving.engine, LocalEngine)
    with served(chat_stream) as client, client.stream("POST", "/chat_stream", json={"user_input": "Hi"}) as told:
        assert told.status_code == 200
        assert "<::EOS::>" in next(told.iter_text())


def test_device_moves_the_model():
    model = tiny_llama(32, hidden_len=8, layers=1, heads=2)
    assert ChatStream(model=model, tokenizer=tiny_tokenizer(), device="cpu").serving.engine.device.type == "cpu"
    with pytest.raises(EngineError, match="no-such-device"):
        ChatStream(model=model, tokenizer=tiny_tokenizer(), device="no-such-device")


def test_the_counts_are_those_of_the_load():
    with served(mocked(num_of_concurrent_executions=3, max_queue_size=0)) as client:
        (worker,) = client.get("/get_load").json()["chatstream_workers"]
    assert worker == {"name": "node:0", "processing": 0, "waiting": 0, "max_processing": 3, "max_waiting": 0}


@pytest.mark.parametrize(
    "counts", [{"num_of_concurrent_executions": 0}, {"max_queue_size": -1}, {"max_queue_size": "5"}]
)
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(ServerError, match="must be a whole number"):
        ChatStream(**counts)


@pytest.mark.parametrize(
    ("as_error", "headers", "status"), [(False, {}, 200), (True, {}, 429), (False, SSE, 429), (True, SSE, 429)]
)
def test_a_full_server_says_so_in_the_documented_way(as_error, headers, status):
    chat_stream = mocked(num_of_concurrent_executions=1, max_queue_size=0, too_many_request_as_http_error=as_error)
    with served(chat_stream) as client:
        ticket = chat_stream.serving.admission.ask()
        told = ask(client, headers=headers)
        ticket.leave()
        assert ask(client).status_code == 200
    assert (told.status_code, told.headers["retry-after"]) == (status, "1")
    if status == 200:
        assert told.json() == {"error": "too_many_requests"}
    else:
        assert (told.json()["error"], told.json()["place"]) == ("too_many_requests", 1)


def test_round_gives_the_next_phrase_each_time():
    with served(ChatStream(use_mock_response=True, mock_params={type: "round", "time_per_token_sec": 0})) as client:
        said = [whole(ask(client)) for _ in range(5)]
    assert len(set(said[:4])) == 4
    assert said[4] == said[0] == "Hello! How can I help you today?"


def test_round_is_the_mocks_default_at_a_tenth_of_a_second_a_word():
    engine = ChatStream(use_mock_response=True).serving.engine
    assert (engine.delay, engine.first_delay) == (0.1, 0.0)


def test_long_is_long_and_echo_says_what_was_asked():
    with served(mocked("long")) as client:
        assert len(whole(ask(client))) > 1000
    with served(mocked("echo")) as client:
        assert [whole(ask(client, text)) for text in ("こんにちは you", "  a\n😀 ")] == ["こんにちは you", "  a\n😀 "]


def test_the_mock_takes_its_time():
    start = time.perf_counter()
    with served(mocked("echo", delay=0.02, first=0.1)) as client:
        began = time.perf_counter()
        assert whole(ask(client, "one two three four")) == "one two three four"
        assert 0.18 <= time.perf_counter() - began < 5
    assert time.perf_counter() - start < 10


def test_the_mock_speaks_japanese_too():
    with served(mocked("round", locale="ja")) as client:
        told = ask(client, headers=SSE)
    texts = [data["text"] for name, data, _ in events_of(told.text) if name == "delta" and data["text"]]
    assert texts[:3] == ["こ", "ん", "に"]


@pytest.mark.parametrize(
    "params", [{"type": "other"}, {"type": "round", "speed": 1}, {"time_per_token_sec": -1}, {"initial_wait_sec": "1"}]
)
def test_a_mock_that_there_is_not_is_refused(params):
    with pytest.raises(ServerError, match="mock|seconds"):
        ChatStream(use_mock_response=True, mock_params=params)


def test_the_prompt_class_writes_the_prompt():
    engine = ScriptedEngine("ok")
    with served(ChatStream(engine=engine, chat_prompt_clazz=ChatPromptMetaLlamaLlama2Chat)) as client:
        ask(client, "Who?")
        told = client.get("/get_prompt").json()
    assert "".join(map(chr, engine.prompts[0])).endswith("Who? [/INST] ")
    assert [message["content"] for message in told["messages"]][-2:] == ["Who?", "ok"]


def test_a_tokenizer_tells_the_prompt_where_no_class_is_given():
    tokenizer = load_tokenizer(model_path())
    engine = ScriptedEngine("ok", tokenizer)
    with served(ChatStream(engine=engine)) as client:
        assert whole(ask(client, "Who?")) == " ok"  # as the model would write it after [/INST]
    assert tokenizer.decode(engine.prompts[0], skip_special_tokens=False).startswith("<s>")


def test_max_new_tokens_ends_the_answer():
    with served(ChatStream(engine=ScriptedEngine("Hello you"), chat_prompt_clazz="vicuna", max_new_tokens=5)) as client:
        name, data, _ = events_of(ask(client, headers=SSE).text)[-1]
    assert (name, data["finish_reason"], data["token_len"], data["text_len"]) == ("end", "length", 5, 5)


def test_a_message_longer_than_context_len_is_a_400():
    with served(mocked(context_len=500, max_new_tokens=10)) as client:
        told = ask(client, "x" * 600)
        assert (told.status_code, told.json()["error"]) == (400, "context_length_exceeded")
        assert whole(ask(client, "Hi")) == "Hi"


def test_how_to_choose_reaches_the_engine():
    asked = recorded(
        temperature=0.5, top_k=7, top_p=0.9, repetition_penalty=1.1, max_new_tokens=99, context_len=999, seed=5
    )
    assert (asked.temperature, asked.top_k, asked.top_p, asked.repetition_penalty) == (0.5, 7, 0.9, 1.1)
    assert (asked.max_new_tokens, asked.context_len, asked.seed) == (99, 999, 5)
    assert recorded(top_k=None).top_k == 0


@pytest.mark.parametrize(
    ("word", "method"),
    [("multiplicative", "multiplicative"), ("subtractive", "additive"), ("additive", "additive")],
)
def test_a_penalty_is_told_in_both_words(word, method):
    asked = recorded(repetition_penalty=1.2, repetition_penalty_method=word)
    assert (asked.repetition_penalty, asked.repetition_penalty_method) == (1.2, method)


@pytest.mark.parametrize(
    "wrong", [{"repetition_penalty_method": "other"}, {"temperature": -1}, {"top_p": 0}, {"top_k": -1}]
)
def test_a_parameter_out_of_its_bounds_is_refused_at_once(wrong):
    with pytest.raises(SamplingError):
        ChatStream(**wrong)


class Bare(ChatPromptVicuna):
    """Text without a special token at its head."""

    def create_prompt(self, opts=None):
        return "Hi"


@pytest.mark.parametrize(
    ("option", "of_class", "bos"),
    [(None, None, 1), (None, False, 0), (None, True, 1), (True, False, 1), (False, True, 0), (False, None, 0)],
)
def test_add_special_tokens_is_left_to_the_class_or_forced(option, of_class, bos):
    """``None`` leaves it to the prompt class; ``True`` and ``False`` say it whatever the class says."""
    prompt_class = type("Told", (Bare,), {"add_special_tokens": of_class})
    tokenizer = load_tokenizer(model_path())
    engine = ScriptedEngine("ok", tokenizer)
    with served(ChatStream(engine=engine, chat_prompt_clazz=prompt_class, add_special_tokens=option)) as client:
        assert ask(client).status_code == 200
    assert engine.prompts[0].count(tokenizer.special_strs["<s>"]) == bos


def test_each_object_has_a_handler_of_its_own():
    assert ChatStream().request_handler is not ChatStream().request_handler
    shared = SimpleSessionRequestHandler()
    ChatStream(request_handler=shared)
    with pytest.raises(ServerError, match="serves another ChatStream"):
        ChatStream(request_handler=shared)


def test_a_logger_hears_of_faults_and_reads_no_message():
    log = io.StringIO()
    logger = logging.Logger("mine", logging.DEBUG)
    logger.addHandler(logging.StreamHandler(log))
    engine = ScriptedEngine("canary reply", fail_at=3, error=RuntimeError("canary in the fault"))
    chat_stream = ChatStream(engine=engine, chat_prompt_clazz="vicuna", logger=logger)
    assert chat_stream.logger is logger
    with served(chat_stream) as client:
        ask(client, "canary question", headers=SSE)
    assert "RuntimeError at scripted.py" in log.getvalue()
    assert "canary" not in log.getvalue()


def test_what_is_said_is_logged_only_when_asked():
    log = io.StringIO()
    logger = logging.Logger("mine", logging.DEBUG)
    logger.addHandler(logging.StreamHandler(log))
    with served(mocked(logger=logger, log_content=True)) as client:
        ask(client, "canary\x1b[31m")
    assert "canary" in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_an_engine_stands_instead_of_a_model():
    with pytest.raises(ServerError, match="not both"):
        ChatStream(engine=ScriptedEngine("x"), model=object())
    with pytest.raises(EngineError, match="LocalEngine runs a model"):
        ChatStream(model="meta-llama/Llama-2-7b")


def test_a_serving_brings_its_own():
    serving = Serving(ScriptedEngine("shared"))
    with served(ChatStream(serving=serving, chat_prompt_clazz="vicuna")) as client:
        assert whole(ask(client)) == "shared"
    with pytest.raises(ServerError, match="beside it"):
        ChatStream(serving=serving, engine=ScriptedEngine("x"))


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"client_roles": {"admin": {"passphrase": "x"}}}, "pass-phrase typed into the chat"),
        ({"token_sampler": object()}, "transformers' generate"),
        ({"num_gpus": 2}, "device_map"),
        ({"probe_mode_enabled": True}, "server-sent events"),
    ],
)
def test_options_that_are_not_followed_are_refused_with_the_reason(option, why):
    with pytest.raises(ServerError, match=why):
        ChatStream(**option)
    with pytest.raises(TypeError, match="no option"):
        ChatStream(no_such_option=1)
    assert ChatStream(num_gpus=1, client_roles=None, probe_mode_enabled=False)


def test_a_global_seed_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    ChatStream(seed=42)
    assert torch.equal(before, torch.get_rng_state())


def test_a_prompt_class_that_makes_none_is_told_at_the_request():
    with served(ChatStream(engine=ScriptedEngine("x"), chat_prompt_clazz=dict)) as client:
        assert ask(client).status_code in (400, 500)


def test_the_mock_needs_no_model_and_says_so_at_once():
    assert ChatStream(use_mock_response=True, mock_params=MOCK).serving.engine.active_len == 0
