"""Random bytes in any file of a folder: a result or a typed error, soon, in little memory, through every way in.

``HYPOTHESIS_PROFILE=nightly`` (``make soak``) takes 5,000 folders, the ordinary suite 200.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatlab.embedded import tokenizer_path
from chatlab.errors import ChatlabError
from chatlab.locks.check import check
from chatlab.locks.lock import lock
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.prompts.templates.choice import prompt_for
from chatlab.revisions.compare import compare_revisions
from chatlab.snapshots.snapshot import snapshot
from chatlab.tokenizers.load import load_tokenizer

COUNT = 5_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 200
SECONDS, MEGABYTES = 5, 1024

HONEST = tokenizer_path("byte-bpe")
FOLDERS = ("byte-bpe", "llama2-style/legacy", "wordpiece")
MORE = {
    "config.json": '{"model_type": "llama"}',
    "generation_config.json": '{"eos_token_id": [1]}',
    "special_tokens_map.json": '{"eos_token": {"content": "</s>"}}',
    "added_tokens.json": '{"<x>": 3}',
    "chat_template.jinja": "{{ messages[0].content }}",
}
"""Files that a folder of ours lacks."""


def loaded(loader: str, *, untrusted: bool = False) -> Callable[[Path], Any]:
    def work(folder: Path) -> None:
        tokenizer = load_tokenizer(folder, loader=loader, untrusted=untrusted)
        token_ids = tokenizer.encode("Hello, <s> w\u00f6rld")
        tokenizer.decode(token_ids)
        tokenizer.decode_batch([token_ids])
        tokenizer.decoder()
        assert tokenizer.encode_spans("a").token_ids == tokenizer.encode("a")
        assert all(isinstance(tokenizer.piece(i), str) for i in token_ids)
        assert tokenizer.vocab_len >= len(tokenizer.special_strs)

    return work


def checked(folder: Path) -> None:
    """What was locked, and then became what it is."""
    path = folder.parent / "chatlab.lock"
    shutil.copytree(HONEST, folder.parent / "u")
    lock("u", folder.parent / "u", path=path)
    for file in folder.iterdir():
        shutil.copy(file, folder.parent / "u")
    str(check(path=path))


WAYS_IN: dict[str, Callable[[Path], Any]] = {
    "load_tokenizer": loaded("auto"),
    "load_tokenizer raw": loaded("tokenizers"),
    "load_tokenizer sentencepiece": loaded("sentencepiece"),
    "load_tokenizer untrusted": loaded("auto", untrusted=True),
    "ChatTemplatePrompt": ChatTemplatePrompt,
    "prompt_for": lambda folder: prompt_for(str(folder)),
    "snapshot": lambda folder: str(snapshot(folder, cache=False)),
    "compare_revisions": lambda folder: str(compare_revisions(HONEST, folder)),
    "lock": lambda folder: lock("t", folder, path=folder.parent / "chatlab.lock"),
    "check": checked,
}

odd_values = st.sampled_from(
    [None, True, -1, 2**70, 0.5, "", "x", "\ud800", [], {}, [None], [[]], {"a": 1}, {"content": None}]
)


@st.composite
def edited_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of a file, a few of them other ones, or none of them left."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=60))
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(found)))
        found[start : start + draw(st.sampled_from([0, 1, 2, 10, 1000]))] = draw(st.binary(max_size=4))
    return bytes(found)


@st.composite
def edited_json(draw: st.DrawFn, data: bytes) -> bytes:
    """JSON of a file, one value of it another one."""
    document = json.loads(data)
    node, path = document, []
    while isinstance(node, dict | list) and node and (not path or draw(st.integers(0, 4))):
        key = draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.integers(0, len(node) - 1))
        path.append((node, key))
        node = node[key]
    if path:
        path[-1][0][path[-1][1]] = draw(odd_values)
    return json.dumps(document if path else draw(odd_values)).encode()


class Files(dict[str, bytes]):
    """Files by name; what failed is told by those of them that are short, for Hypothesis prints no long ones."""

    def __repr__(self) -> str:
        return repr({name: data if len(data) < 2_000 else f"{len(data)} bytes" for name, data in self.items()})


@st.composite
def edited_files(draw: st.DrawFn) -> Files:
    folder = tokenizer_path(draw(st.sampled_from(FOLDERS)))
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    more = {name: text.encode() for name, text in MORE.items()}
    files.update({name: more[name] for name in draw(st.sets(st.sampled_from(sorted(more)), max_size=2))})
    for name in draw(st.sets(st.sampled_from(sorted(files)), min_size=1)):
        as_json = name.endswith(".json") and draw(st.booleans())
        files[name] = draw(edited_json(files[name]) if as_json else edited_bytes(files[name]))
    return Files(files)


@pytest.fixture(scope="module", autouse=True)
def limits():
    """An empty cache; and imports are paid before the clock runs."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as cache:
        patch.setenv("CHATLAB_CACHE", cache)
        patch.setenv("CHATLAB_CHILD_SECONDS", str(SECONDS))
        patch.setenv("CHATLAB_CHILD_MEMORY_MB", str(MEGABYTES))
        for name in FOLDERS:
            load_tokenizer(tokenizer_path(name))
        yield


@pytest.mark.timeout(COUNT)  # a second each, on a machine however busy
@given(edited_files(), st.sampled_from(sorted(WAYS_IN)))
@settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))
def test_random_bytes_give_a_result_or_a_typed_error(files, way):
    with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(parent) / "t"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        begun, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(ChatlabError):
            WAYS_IN[way](folder)
        assert time.process_time() - begun < SECONDS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < MEGABYTES * 1024
