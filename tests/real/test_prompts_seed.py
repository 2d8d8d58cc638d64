"""The prompt class printed in the article runs here when its two import lines change."""

from __future__ import annotations

import pytest

from chatlab.prompts.dialogue import Dialogue, Turn, prompts_of
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat


@pytest.fixture(scope="module")
def article(real):
    path = real.parent / "seeds" / "llama2_chat_prompt.md"
    if not path.is_file():
        pytest.skip(f"no article at {path.name}")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["from chatlab.prompts.base import RoleType", "from chatlab import RoleType"])
def printed_class(article, request):
    source = article[article.index("from chatstream import") : article.index("本実装については")]
    assert source.count("chatstream") == 2
    source = source.replace("from chatstream import AbstractChatPrompt", "from chatlab import AbstractChatPrompt")
    source = source.replace("from chatstream.chat_prompt.role_type import RoleType", request.param)
    names: dict = {}
    exec(source, names)
    return names["ChatPromptMetaLlamaLlama2Chat"]


@pytest.mark.real
def test_the_printed_class_says_what_ours_says(article, printed_class):
    turns = tuple(Turn(user=f"q{n}\n ", assistant=f" a{n}") for n in range(5))
    theirs = prompts_of(Dialogue(id="x", turns=turns), printed_class)
    ours = prompts_of(Dialogue(id="x", turns=turns), ChatPromptMetaLlamaLlama2Chat)
    for (_, their), (_, our) in zip(theirs, ours, strict=True):
        assert their.create_prompt() == our.create_prompt()
        assert their.get_custom_skip_echo_len(40) == our.get_custom_skip_echo_len(40)
        assert their.get_stop_strs() == our.get_stop_strs() == []
        assert their.get_replacement_when_input() is None
        assert their.build_initial_prompt(their) is None


@pytest.mark.real
def test_the_printed_class_builds_the_printed_prompt(article, printed_class):
    printed = article[article.index("<s>[INST] <<SYS>>\nYou are") : article.index("出力は以下")].rstrip("\n")
    prompt = printed_class()
    for pair in printed.partition("<</SYS>>\n\n")[2].split(" </s><s>[INST] ")[:-1]:
        question, answer = pair.split(" [/INST] ", 1)
        prompt.add_requester_msg(question)
        prompt.add_responder_msg(answer)
    assert prompt.get_turn() == 3
    assert prompt.create_prompt() == printed
    prompt.set_chat_mode_enabled(False)
    assert prompt.create_prompt() == "Who is starred"
