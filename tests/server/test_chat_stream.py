"""The class: its documented options and what each of them does."""

from __future__ import annotations

import logging

import pytest
import torch
from fastapi import FastAPI, Request

import chatlab
from chatlab import AbstractChatPrompt, ChatPromptMetaLlamaLlama2Chat, ChatStream, LocalEngine
from chatlab.embedded import model_path
from chatlab.errors import EngineError, SamplingError, ServerError
from chatlab.server.chat.options import NoModel
from chatlab.server.request_handler import SimpleSessionRequestHandler
from chatlab.testing import ScriptedEngine

from tests.server.live import MOCK, events_of, live, mocked, served, whole

SSE = {"accept": "text/event-stream"}


def ask(client, text="Hi", **options):
    return client.post("/chat_stream", json={"user_input": text}, **options)


def sampling_of(chat_stream):
    return chat_stream.params


def test_the_defaults_are_the_seeds():
    params = ChatStream().params
    assert (params.max_new_tokens, params.context_len, params.temperature) == (256, 1024, 1.0)
    assert (params.top_k, params.top_p, params.repetition_penalty) == (50, 1.0, None)
    assert params.repetition_penalty_method == "multiplicative"
    load = ChatStream().serving.admission.load()
    assert (load.max_running, load.max_waiting) == (2, 5)


def test_the_option_listing_of_the_article_runs():
    """``: int =`` in it aside, and with ``type``, the builtin, as a key."""
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
    with served(chat_stream) as client:
        told = ask(client)
    assert told.status_code == 200
    assert whole(told)
