"""Conversations kept in ids on real tokenizers and published templates, where the same dialogues lose every third border."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from chatlab import ChatTemplatePrompt, stream
from chatlab.echo.replies import Continuations, begin
from chatlab.embedded import dialogues_path
from chatlab.engines.scripted import ScriptedEngine
from chatlab.errors import ConversationError, TemplateError
from chatlab.prompts.dialogue import read_dialogues
from chatlab.streaming.conversation.conversation import Conversation
from chatlab.tokenizers.load import load_tokenizer
from tests.support.held import tokenizer_of

pytestmark = pytest.mark.real


@pytest.mark.parametrize(("folder", "form"), [("phi-3/after", "phi3-2024-05"), ("llama-2/tokenizer.model", "llama2")])
def test_no_border_is_lost(real: Path, folder: str, form: str) -> None:
    """37.4 and 21.4 % of the borders are, where each prompt is encoded anew; here of 290 none."""
    tokenizer = load_tokenizer(real / folder)
    talks = [d for d in read_dialogues(dialogues_path()) if len(d.turns) > 1][::13]
    said = Continuations(tokenizer)
    borders = 0
    for talk in talks:
        replies = said.encode([begin(turn.assistant or "ok", "word") for turn in talk.turns])
        engine = ScriptedEngine(replies, tokenizer)
        conversation = Conversation(form, engine)
        for turn in talk.turns:
            before = conversation.token_ids
            conversation.ask(turn.user)
            stream(conversation, engine, context_len=10**6, max_new_tokens=10**5, warn=False).result()
            # A reply that spells <|assistant|> ends there, and the format closes it by <|end|>.
            if before and conversation.calls[-2].end_id is not None:
                before = before[:-1]
            assert tuple(engine.prompts[-1][: len(before)]) == before
            assert conversation.lost is None
            borders += bool(before)
    assert borders > 250


def test_published_templates_can_be_kept(real: Path) -> None:
    """Three plain turns: 26 of 28; two take a content in parts alone, and refuse or forget a text."""
    published = json.loads((real / "templates" / "published.json").read_text())["templates"]
    found: Counter[str] = Counter()
    for template in published.values():
        tokenizer = tokenizer_of(template)
        engine = ScriptedEngine(
            [tokenizer.encode(text, add_special_tokens=False) for text in ("Hello.\n", " ok")], tokenizer
        )
        conversation = Conversation(ChatTemplatePrompt(tokenizer), engine)
        try:
            for question in ("Hi", "And you?", "Why?"):
                before = conversation.token_ids
                conversation.ask(question)
                stream(conversation, engine, context_len=10**6).result()
                assert tuple(engine.prompts[-1][: len(before)]) == before
        except (ConversationError, TemplateError) as error:
            found[type(error).__name__] += 1
        else:
            found["kept"] += 1
    assert found == {"kept": 26, "ConversationError": 1, "TemplateError": 1}
