"""Numbers that nobody means, in every kind of file: a result or a typed error, within 5 s and 1 GB, of a child and mostly without its limits.

The ordinary suite takes a seventh of them, ``HYPOTHESIS_PROFILE=nightly`` (``make soak``) all.
"""

from __future__ import annotations

import os
import time
import warnings

import pytest

from chatlab.errors import ChatlabError, TokenizerLimitError
from chatlab.tokenizers.load import load_tokenizer
from tests.support.absurd import ABSURD

WHOLE = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
ENDED = {"2 million pieces"}
"""What costs so much that the child is ended: libraries do as they are told."""


@pytest.fixture(autouse=True)
def limits(monkeypatch, tmp_path):
    monkeypatch.setenv("CHATLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CHATLAB_CHILD_SECONDS", "5")
    monkeypatch.setenv("CHATLAB_CHILD_MEMORY_MB", "1024")


@pytest.mark.parametrize("name", [name for number, name in enumerate(ABSURD) if WHOLE or number % 7 == 3])
def test_absurd_numbers_give_a_result_or_a_typed_error(name, tmp_path):
    place = ABSURD[name](tmp_path / "t")
    begun, told = time.process_time(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = load_tokenizer(place, untrusted=True)
        token_ids = tokenizer.encode("Hello <s> ab")
        tokenizer.decode(token_ids)
        assert all(tokenizer.piece(i) for i in token_ids)
        assert tokenizer.encode_spans("ab").token_ids == tokenizer.encode("ab")
        tokenizer.close()
    except ChatlabError as error:
        told = error
    assert not isinstance(told, TokenizerLimitError) or name in ENDED, told
    assert time.process_time() - begun < 5
