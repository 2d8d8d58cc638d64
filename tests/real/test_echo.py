"""The drift of the real Llama-2 tokenizer, in figures, and every edit of the real tokenizers explained."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path
from shutil import copyfile

import pandas as pd
import pytest

from chatlab.echo.cut import cut_exactly
from chatlab.echo.edits import Cause
from chatlab.echo.experiment import measure_drift
from chatlab.echo.trace import trace_echo
from chatlab.embedded import dialogues_path
from chatlab.prompts.dialogue import Dialogue, Turn, prompts_of, read_dialogues
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import load_tokenizer

pytestmark = pytest.mark.real

ODD_KINDS = ("special-tokens", "empty")
"""Their messages spell control tokens, or are left out by the prompt class: other borders than one a turn."""

LOADS = [("sentencepiece", True), ("sentencepiece", False), ("transformers", True), ("transformers", False)]


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return [d for d in read_dialogues(dialogues_path()) if d.labels["kind"] not in ODD_KINDS]


def llama2(real: Path, loader: str, legacy: bool) -> Tokenizer:
    return load_tokenizer(real / "llama-2", loader=loader, legacy=legacy)  # type: ignore[arg-type]


@pytest.mark.parametrize(("loader", "legacy"), LOADS)
def test_legacy_drift_is_turns_minus_one_and_non_legacy_zero(
    real: Path, dialogues: list[Dialogue], loader: str, legacy: bool
) -> None:
    frame = measure_drift(dialogues, ChatPromptMetaLlamaLlama2Chat, llama2(real, loader, legacy), strategies=["exact"])
    expected = frame.turn - 1 if legacy else frame.turn * 0
    assert (frame.echo_drift == expected).all()
    assert not frame.wrong.any()
    assert len(frame) > 5_000


@pytest.fixture(scope="module", params=["sentencepiece", "transformers"])
def rule(request: pytest.FixtureRequest, real: Path, dialogues: list[Dialogue]) -> pd.DataFrame:
    """ChatStream's rule on every reply, begun with a space and begun bare."""
    tokenizer = llama2(real, request.param, legacy=True)
    frames = [
        measure_drift(
            dialogues, ChatPromptMetaLlamaLlama2Chat, tokenizer, reply_start=start, strategies=["prompt_class_rule"]
        )
        for start in ("space", "bare")
    ]
    return pd.concat(frames, ignore_index=True)


def test_the_rule_is_right_where_the_first_piece_carries_a_space(rule: pd.DataFrame) -> None:
    spaced = rule[rule.first_piece_space]
    assert len(spaced) > 5_000
    assert not spaced.wrong.any()


def test_the_rule_is_wrong_on_every_other_reply_from_turn_two_on(rule: pd.DataFrame) -> None:
    bare = rule[~rule.first_piece_space & (rule.turn >= 2) & ~rule.first_char_blank & (rule.reply_len > 0)]
    assert len(bare) > 3_000
    assert bare.wrong.all()
    assert (bare.effect == "eats").all()
    assert (bare.effect_len >= 1).all()  # one character, and the blank that strip() then takes


def test_the_rule_hides_what_it_eats_where_the_reply_begins_blank(rule: pd.DataFrame) -> None:
    blank = rule[~rule.first_piece_space & (rule.turn >= 2) & rule.first_char_blank]
    assert len(blank) > 100
    assert not blank.wrong.any()


def test_the_rule_is_right_on_first_turns(rule: pd.DataFrame) -> None:
    assert not rule[(rule.turn == 1)].wrong.any()


def test_the_exact_cut_is_right_at_20_000_splits(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Any split of any prompt's ids, many of them inside a character; the truth is the text itself."""
    rng, cases, inside, wrong = random.Random(0), 0, 0, 0
    texts = [t for d in read_dialogues(dialogues_path()) for turn in d.turns for t in (turn.user, turn.assistant or "")]
    emoji = "\U0001f9a9\U0001f468\u200d\U0001f33e\u9b31\U0001f525\u00e9 "
    for legacy in (True, False):
        tokenizer = llama2(real, "sentencepiece", legacy)
        decode = tokenizer.decoder()
        for text in rng.sample(texts, 1_100):
            text = "".join(rng.choice(emoji) if rng.random() < 0.15 else c for c in text[:160])
            token_ids = tokenizer.encode(text)
            full = decode(token_ids)
            for _ in range(10):
                split = rng.randint(0, len(token_ids))
                whole = split
                # U+FFFD shows a character that is not whole, save where the text has one of its own.
                while (
                    whole
                    and decode(token_ids[:whole]).endswith("\ufffd")
                    and tokenizer.piece(token_ids[whole - 1]) != "\ufffd"
                ):
                    whole -= 1
                cases, inside = cases + 1, inside + (whole < split)
                wrong += cut_exactly(tokenizer, token_ids[:split], token_ids[split:]) != full.removeprefix(
                    decode(token_ids[:whole])
                )
    with capsys.disabled():
        print(f"\nexact cut: {wrong} wrong of {cases:,} splits, {inside:,} of them inside a character")
    assert cases >= 20_000
    assert inside > 500
    assert wrong == 0


def test_two_spaces_in_three_spaces_out(real: Path) -> None:
    """The seed's sentence, with its reason: the prefix goes in front of whatever the segment begins with."""
    trace = trace_echo(llama2(real, "sentencepiece", True), "who come from </s><s>  [INST] Who is the director [/INST]")
    assert trace.echo == "who come from    [INST] Who is the director [/INST]"
    (added,) = trace.surprises
    assert (added.echo_text, added.cause) == (" ", Cause.DUMMY_PREFIX)
    assert added.evidence is not None
    assert "from   [INST]" in added.evidence.echo_after


def test_the_titanic_prompt_of_the_seed_drifts_by_two(real: Path) -> None:
    """Three turns, legacy: +2, and the figures of the facts, 105 against 103, for a three-turn prompt."""
    titanic = Dialogue(
        id="titanic",
        turns=(
            Turn(user="Do you know the movie titanic", assistant="Hello! Yes, I'm familiar with the movie Titanic."),
            Turn(user="Who is the director", assistant='The director of the movie "Titanic" is James Cameron.'),
            Turn(user="Who is starred"),
        ),
    )
    *_, (_, last) = prompts_of(titanic, ChatPromptMetaLlamaLlama2Chat)
    assert [trace_echo(llama2(real, "transformers", legacy), last).drift for legacy in (True, False)] == [2, 0]


def _all_real(real: Path, tmp_path: Path) -> list[Tokenizer]:
    tokenizers = [llama2(real, *load) for load in LOADS]
    tokenizers += [
        load_tokenizer(real / name, loader="sentencepiece") for name in ("mistral/v1", "mistral/v3", "stories260k")
    ]
    for side in ("before", "after"):
        tokenizers.append(load_tokenizer(real / "phi-3" / side / "tokenizer.json"))
        folder = tmp_path / side
        folder.mkdir()
        for file in (real / "phi-3" / side).iterdir():
            copyfile(file, folder / file.name)
        (folder / "config.json").write_text('{"model_type": "phi3"}')
        tokenizers.append(load_tokenizer(folder))
    return tokenizers


def test_at_most_one_edit_in_two_hundred_of_real_tokenizers_is_unexplained(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = []
    for dialogue in islice(read_dialogues(dialogues_path()), 0, None, 14):
        *_, (_, last) = prompts_of(dialogue, ChatPromptMetaLlamaLlama2Chat)
        prompts.append(last.create_prompt())
        prompts += [
            f"<|user|>\n{turn.user}<|end|>\n<|assistant|>\n{turn.assistant}<|end|>\n" for turn in dialogue.turns[:1]
        ]
    total = Counter[Cause]()
    for tokenizer in _all_real(real, tmp_path):
        counts = Counter[Cause]()
        for prompt in prompts:
            for skip in (True, False):
                trace = trace_echo(tokenizer, prompt, skip_special_tokens=skip)
                assert trace.replay() == trace.echo
                counts.update(edit.cause for edit in trace.edits)
        total += counts
        with capsys.disabled():
            print(f"\n{tokenizer.name} ({tokenizer.loader}): " + ", ".join(f"{c} {n}" for c, n in counts.most_common()))
    assert total[Cause.UNEXPLAINED] <= 0.005 * total.total()


def test_the_real_phi3_pair_drifts_plus_seven_and_minus_four(real: Path, tmp_path: Path) -> None:
    prompt = "<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\n"
    *_, before, _, after = (None, *_all_real(real, tmp_path)[-3:])
    traces = [trace_echo(t, prompt, skip_special_tokens=False) for t in (before, after)]
    assert [t.drift for t in traces] == [7, -4]
    assert [len(t.token_ids) for t in traces] == [26, 12]
    assert traces[1].cause_counts()[Cause.ADDED_TOKEN_STRIP] == 7
