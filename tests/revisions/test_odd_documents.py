"""Files of a stranger may say anything in place of what files say: a comparison is a result all the same.

``HYPOTHESIS_PROFILE=nightly`` (``make soak``) takes 3,000 pairs, the ordinary suite 40.
"""

from __future__ import annotations

import copy
import json
import os
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.embedded import tokenizer_path
from chatlab.locks.latent import latent_hashes
from chatlab.revisions.compare import compare_snapshots
from chatlab.snapshots.snapshot import Snapshot, snapshot

COUNT = 3_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 40
ODD: list[Any] = [None, True, -1, 2**70, 0.5, "", "x", "\ud800", [], {}, [None], [[]], {"a": 1}, {"content": None}, {"content": []},
                  ["a"], [{"id": []}], [{"content": "a"}], {"x": {}}, {"1": "a"}, [1, 2]]  # fmt: skip
MORE: dict[str, Any] = {
    "config.json": {"model_type": "llama", "eos_token_id": 2, "bos_token_id": 1},
    "generation_config.json": {"eos_token_id": [1], "stop_strings": ["a"]},
    "special_tokens_map.json": {"eos_token": {"content": "</s>"}, "additional_special_tokens": ["<a>"]},
    "added_tokens.json": {"<x>": 3, "</s>": 2},
    "tokenizer_config.json": {
        "added_tokens_decoder": {"0": {"content": "<unk>", "special": True}, "1": {"content": "<s>"}},
        "eos_token": "</s>",
        "chat_template": [{"name": "a", "template": "b"}],
    },
}
"""Documents with what a comparison looks for."""


@pytest.fixture(scope="module")
def taken() -> list[Snapshot]:
    return [snapshot(tokenizer_path(name)) for name in ("byte-bpe", "llama2-style/legacy")]


def edited(document: Any, draw: random.Random) -> Any:
    """A document with up to three values replaced, at any depth."""
    holder = [copy.deepcopy(document)]
    for _ in range(draw.randint(1, 3)):
        node: Any = holder
        while True:
            key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not (isinstance(node[key], dict | list) and node[key] and draw.random() < 0.8):
                node[key] = copy.deepcopy(draw.choice(ODD))
                break
            node = node[key]
    return holder[0]


def variant(of: Snapshot, draw: random.Random) -> Snapshot:
    """A snapshot whose JSON files say something odd; what the library made of them is left as it was."""
    documents, files = dict(of.record["documents"]), dict(of.record["files"])
    documents |= {name: document for name, document in MORE.items() if draw.random() < 0.4}
    for name in [name for name in documents if name.endswith(".json")]:
        files.setdefault(name, {"size": 1, "sha256": name})
        if draw.random() < 0.6:
            documents[name], files[name] = edited(documents[name], draw), {"size": 1, "sha256": str(draw.random())}
    return replace(of, record={**of.record, "documents": documents, "files": files})


@given(st.randoms(use_true_random=False))
@settings(max_examples=COUNT)
def test_odd_values_in_files_are_compared(taken, draw):
    of = draw.choice(taken)
    before, after = draw.choice([of, variant(of, draw)]), variant(draw.choice([of, *taken]), draw)
    found = compare_snapshots(before, after)
    assert str(found)
    assert found.to_markdown()
    assert json.dumps(found.to_dict())
    assert latent_hashes(after.record)
    assert latent_hashes(before.record) == latent_hashes(copy.deepcopy(dict(before.record)))
