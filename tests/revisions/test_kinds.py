"""Each field of a file is of the kind of change that it makes."""

from __future__ import annotations

import pytest

from chatlab.revisions.kinds import ChangeKind as K
from chatlab.revisions.kinds import kind_of


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("tokenizer.ggml.pre", K.PRE_TOKENIZER),
        ("tokenizer.ggml.add_space_prefix", K.PRE_TOKENIZER),
        ("tokenizer.ggml.token_type", K.ADDED_TOKENS),
        ("tokenizer.ggml.tokens", K.VOCABULARY),
        ("tokenizer.ggml.merges", K.MODEL),
        ("tokenizer.ggml.scores", K.MODEL),
        ("tokenizer.ggml.model", K.MODEL),
        ("tokenizer.ggml.eos_token_id", K.SPECIALS),
        ("tokenizer.ggml.eot_token_id", K.SPECIALS),
        ("tokenizer.ggml.add_bos_token", K.POST_PROCESSOR),
        ("tokenizer.ggml.remove_extra_whitespaces", K.NORMALIZER),
        ("tokenizer.chat_template", K.CHAT_TEMPLATE),
        ("tokenizer.chat_template.tool_use", K.CHAT_TEMPLATE),
    ],
)
@pytest.mark.parametrize("within", [(), ("metadata",), ("fields",)])
def test_a_field_of_a_gguf_is_of_its_kind_wherever_a_record_keeps_it(field, kind, within):
    assert kind_of("model.gguf", (*within, field)) is kind
