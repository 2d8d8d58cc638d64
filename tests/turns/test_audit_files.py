"""What lies beside a template: each file that contradicts it is named, and agreeing files say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, processors

import chatlab
from chatlab.errors import TemplateError
from chatlab.turns.audit.kinds import Kind
from tests.support.cache import chatlab_cache as chatlab_cache
from tests.support.clean_templates import PLAIN, TOOLS
from tests.support.small_tokenizers import small_tokenizers
from tests.support.templates import fast_tokenizer

BYTES = "byte bpe"


def folder(place: Path, *, template: str = PLAIN, rust: Tokenizer | None = None, **files: Any) -> Path:
    """A tokenizer folder whose files agree, but for what is given."""
    made = Tokenizer.from_str((rust or small_tokenizers()[BYTES]).to_str())
    made.add_special_tokens([AddedToken(t, normalized=False) for t in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")])
    end = made.token_to_id("<|im_end|>")
    place.mkdir()
    (place / "tokenizer.json").write_text(made.to_str())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": template}
    documents = {
        "tokenizer_config": config,
        "generation_config": {"eos_token_id": [end]},
        "config": {"model_type": "llama", "eos_token_id": end},
    }
    for name, own in files.items():
        documents[name] = {**documents[name], **own}
    for name, document in documents.items():
        (place / f"{name}.json").write_text(json.dumps(document))
    return place


def kinds(found: Any) -> set[tuple[str, str]]:
    return {(str(one.kind), one.word) for one in found.findings}


def test_files_that_agree_say_nothing(tmp_path: Path) -> None:
    found = chatlab.audit_template(folder(tmp_path / "tok"))
    assert not found.findings
    assert not found.unchecked


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"generation_config": {"eos_token_id": [0]}}, {("end token stops nothing", "generation_config.json")}),
        ({"config": {"eos_token_id": 0}}, {("stop ids disagree", "config.json")}),
        ({"tokenizer_config": {"eos_token": "</s>"}}, {("stop ids disagree", "tokenizer_config.json")}),
        ({"generation_config": {"eos_token_id": [0, 1, 2, 3]}, "config": {"eos_token_id": 0}},
         {("end token stops nothing", "generation_config.json"), ("stop ids disagree", "config.json")}),
    ],
)  # fmt: skip
def test_each_file_that_does_not_stop_at_the_end_token_is_named(
    files: dict[str, Any], named: set[tuple[str, str]], tmp_path: Path
) -> None:
    rust = small_tokenizers()[BYTES]
    last = rust.get_vocab_size() - 1
    own = {name: {k: [last] if k == "eos_token_id" and v == [0, 1, 2, 3] else v for k, v in values.items()} for name, values in files.items()}  # fmt: skip
    assert kinds(chatlab.audit_template(folder(tmp_path / "tok", **own))) == named


def test_a_strangers_tokenizer_stays_in_its_child(tmp_path: Path) -> None:
    place = folder(tmp_path / "tok", config={"eos_token_id": 0})
    by_path = chatlab.audit_template(place)
    by_child = chatlab.audit_template(chatlab.load_tokenizer(place, untrusted=True))
    assert by_child.findings == by_path.findings
    assert kinds(by_child) == {("stop ids disagree", "config.json")}


def test_a_tokenizer_without_files_tells_its_own_end(tmp_path: Path) -> None:
    found = chatlab.audit_template(fast_tokenizer(BYTES, PLAIN, eos="</s>"))
    assert kinds(found) == {("stop ids disagree", "eos_token")}
    assert not chatlab.audit_template(fast_tokenizer(BYTES, PLAIN, eos="<|im_end|>")).findings
    with pytest.raises(TemplateError, match="chat template"):
        chatlab.audit_template(fast_tokenizer(BYTES, None))
    assert not chatlab.audit_template(fast_tokenizer(BYTES, None, eos="<|im_end|>"), chat_template=PLAIN).findings


def _adding_bos() -> Tokenizer:
    rust = Tokenizer.from_str(small_tokenizers()[BYTES].to_str())
    rust.add_special_tokens([AddedToken("<s>", normalized=False)])
    number = rust.token_to_id("<s>")
    rust.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", number)])
    return rust


def test_the_bos_stands_once(tmp_path: Path) -> None:
    bos = {"tokenizer_config": {"bos_token": "<s>"}}
    lacks = folder(tmp_path / "lacks", rust=_adding_bos(), **bos)
    assert kinds(chatlab.audit_template(lacks)) == {("BOS missing", "")}
    again = folder(tmp_path / "again", rust=_adding_bos(), template="{{ bos_token }}" + PLAIN, **bos)
    found = chatlab.audit_template(again)
    assert kinds(found) == {("BOS added again", "")}
    assert found.exit_code == 0
    twice = folder(tmp_path / "twice", template="{{ bos_token + bos_token }}" + PLAIN, **bos)
    assert kinds(chatlab.audit_template(twice)) == {("BOS twice", "")}


def test_two_readings_of_the_files_are_compared(tmp_path: Path) -> None:
    place = folder(tmp_path / "tok")
    document = json.loads((place / "tokenizer.json").read_text())
    added = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in document["added_tokens"]}
    (token,) = [t for t in added.values() if t["content"] == "<|im_end|>"]
    token["rstrip"] = True
    config = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": added}))
    found = chatlab.audit_template(place)
    assert ("readings disagree", "") in kinds(found)


def test_ids_that_join_over_a_border_are_found_with_a_smallest_conversation() -> None:
    """A byte-level BPE reads the blank of the opening with the first word of the reply."""
    bare = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    tokenizer = fast_tokenizer(BYTES, bare, eos="<|im_end|>")
    found = {one.kind: one for one in chatlab.audit_template(tokenizer).findings}
    lost = found[Kind.IDS_LOST]
    messages = list(lost.messages)
    at = next(n for n, message in enumerate(messages) if message["role"] == "assistant")
    short = tokenizer.encode(tokenizer.apply_chat_template(messages[:at], tokenize=False, add_generation_prompt=True))
    whole = tokenizer.encode(tokenizer.apply_chat_template(messages[: at + 1], tokenize=False))
    assert whole[: len(short)] != short
    assert len(messages) == 2
    kept = fast_tokenizer(BYTES, TOOLS.replace("[/INST]", "<|im_end|>"), eos="<|im_end|>")
    assert Kind.IDS_LOST not in {one.kind for one in chatlab.audit_template(kept).findings}
