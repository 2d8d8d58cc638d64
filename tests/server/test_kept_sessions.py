"""Sessions that are kept in ids: what was said is not read again, and what is lost has a cause."""

from __future__ import annotations

from chatlab import ChatStream, LocalEngine
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.testing import ScriptedEngine, tiny_llama
from tests.server.live import ask, events_of, served
from tests.support.held import id_of, tokenizer_of
from tests.support.templates import CHATML, GEMMA

SSE = {"accept": "text/event-stream"}


def asked(client, body) -> tuple[dict, list[int]]:
    """The answer's beginning, and the ids that were read and said."""
    response = client.post("/chat_stream", json={**body, "return_token_ids": True}, headers=SSE)
    told = [data for _, data, _ in events_of(response.text)]
    begin = next(data for data in told if data["kind"] == "begin")
    said = [i for data in told if data["kind"] == "delta" for i in data["token_ids"]]
    return begin, [*begin["prompt_token_ids"], *said]


def served_script(template: str, *replies: str):
    tokenizer = tokenizer_of(template)
    end = id_of(tokenizer, "<end_of_turn>" if template is GEMMA else "<|im_end|>")
    ids = [tokenizer.encode(reply, add_special_tokens=False) for reply in replies]
    engine = ScriptedEngine(ids, tokenizer, eos_id=end)
    return ChatStream(engine=engine, chat_prompt_clazz=lambda: ChatTemplatePrompt(tokenizer))


def test_each_prompt_of_a_session_begins_with_all_it_read_and_said() -> None:
    """Over a template that trims replies, where each turn was lost before; two sessions keep apart."""
    with served(served_script(GEMMA, " One. ", " Uno. ", "Two\n", "Due\n", " x", " y")) as client:
        known: dict[str, list[int]] = {"a": [], "b": []}
        cookies = {name: {} for name in known}
        for number in range(3):
            for name in known:
                client.cookies.clear()
                client.cookies.update(cookies[name])
                begin, ids = asked(client, {"user_input": f"{name} {number}"})
                assert begin["prompt_token_ids"][: len(known[name])] == known[name]
                known[name], cookies[name] = ids, dict(client.cookies)


def test_asking_again_and_clearing_go_back() -> None:
    with served(served_script(CHATML, "One.", "Two.", "Deux.", "One.")) as client:
        first, _ = asked(client, {"user_input": "a"})
        second, _ = asked(client, {"user_input": "b"})
        again, _ = asked(client, {"regenerate": True})
        assert again["prompt_token_ids"] == second["prompt_token_ids"]
        client.post("/clear_context", json={})
        assert asked(client, {"user_input": "a"})[0]["prompt_token_ids"] == first["prompt_token_ids"]


def test_what_is_lost_has_a_cause() -> None:
    """Nothing but the last id of a reply, which is never read, while it goes on; then asked again; then forgotten."""
    tokenizer = tokenizer_of(CHATML)
    engine = LocalEngine(tiny_llama(len(tokenizer)), tokenizer, eos_ids=(), reuse_prefix=True)
    chat_stream = ChatStream(
        engine=engine, chat_prompt_clazz=lambda: ChatTemplatePrompt(tokenizer), max_new_tokens=6, seed=3
    )
    with engine, served(chat_stream) as client:
        told = [asked(client, {"user_input": f"question {number}"})[0]["prefix"] for number in range(3)]
        told.append(asked(client, {"regenerate": True})[0]["prefix"])
        engine.forget()
        told.append(asked(client, {"user_input": "and now"})[0]["prefix"])
    assert [prefix["cause"] for prefix in told[1:3]] == ["", ""]
    assert [prefix["lost_len"] for prefix in told[1:3]] == [1, 1]
    assert told[3]["cause"] == "program: message 6 was taken back"
    assert told[3]["kept_len"] > told[2]["kept_len"]
    assert told[4]["cause"].startswith("engine: it does not hold")
    assert told[4]["kept_len"] == 0


def test_a_server_that_cannot_keep_ids_answers_as_before() -> None:
    chat_stream = ChatStream(use_mock_response=True, mock_params={"type": "echo", "time_per_token_sec": 0})
    assert not chat_stream.serving.keeps_ids
    with served(chat_stream) as client:
        assert "Hi" in ask(client).text
