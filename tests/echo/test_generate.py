"""The embedded model really answers, greedily, through the experiment's own door."""

from __future__ import annotations

import pytest

from chatlab.echo.cut import cut_exactly
from chatlab.echo.generate import ModelReplies
from chatlab.embedded import dialogues_path, model_path
from chatlab.errors import ContextLengthError, ModelLoadError
from chatlab.prompts.dialogue import prompts_of, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.load import load_tokenizer


@pytest.fixture(scope="module")
def model() -> ModelReplies:
    return ModelReplies(model_path())


def test_it_gives_the_taught_answer_twice(model: ModelReplies) -> None:
    tokenizer = load_tokenizer(model_path())
    taught = next(d for d in read_dialogues(dialogues_path()) if d.labels["kind"] == "taught" and len(d.turns) == 3)
    for turn, prompt in prompts_of(taught, ChatPromptMetaLlamaLlama2Chat):
        prompt_ids = tokenizer.encode(prompt.create_prompt())
        reply_ids = model.reply_ids(prompt_ids)
        assert reply_ids == model.reply_ids(prompt_ids)
        assert cut_exactly(tokenizer, prompt_ids, reply_ids).strip() == taught.turns[turn - 1].assistant


def test_a_prompt_longer_than_the_model_is_an_error_with_the_numbers(model: ModelReplies) -> None:
    with pytest.raises(ContextLengthError, match="9999"):
        model.reply_ids([1] * 9999)


def test_a_folder_without_a_model_is_a_typed_error(tmp_path) -> None:
    with pytest.raises(ModelLoadError, match="config.json"):
        ModelReplies(tmp_path)
