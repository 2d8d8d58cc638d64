"""Law L4: a cause is named only with the experiment that proves it, and it is the right one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, normalizers

from chatlab.echo.edits import CURES, Cause, Edit
from chatlab.echo.suspects import SAME_IDS
from chatlab.echo.trace import trace_echo
from chatlab.tokenizers.fast import FastTokenizer
from tests.support.echo_injection import INJECTIONS, Injection, build, random_injections, random_prompt

CASES = 1_200


def key(edit: Edit) -> tuple[object, ...]:
    return edit.prompt_span, edit.prompt_text, edit.echo_text


def traced(injections: list[Injection], prompt: str, options: dict | None) -> tuple[Edit, ...]:
    return trace_echo(build(injections).tokenizer(), prompt, **(options or {})).edits


def test_the_clean_tokenizer_echoes_every_prompt() -> None:
    """Or else the scores below would measure something that was not injected."""
    rng = random.Random(0)
    tokenizer = build([]).tokenizer()
    for _ in range(300):
        prompt = random_prompt(rng, random_injections(rng)).replace("\u2581", "")
        trace = trace_echo(tokenizer, prompt, skip_special_tokens=False)
        assert trace.echo == prompt
        assert trace.edits == ()


def test_injected_causes_are_found_with_precision_and_recall_of_99_percent(capsys: pytest.CaptureFixture[str]) -> None:
    """1,200 random tokenizers with one or two injected causes; the score is printed."""
    rng = random.Random(20261121)
    right, named, true = Counter[Cause](), Counter[Cause](), Counter[Cause]()
    for _ in range(CASES):
        injections = random_injections(rng)
        prompt, setup = random_prompt(rng, injections), build(injections)
        trace = trace_echo(setup.tokenizer(), prompt, **(setup.options or {}))
        assert trace.replay() == trace.echo
        untouched = {key(edit) for edit in traced([], prompt, setup.options)}
        alone = {i.cause: {key(edit) for edit in traced([i], prompt, setup.options)} for i in injections}
        brought = {cause for injection in injections for cause in injection.brings}
        for edit in trace.edits:
            if key(edit) in untouched:
                continue
            truth = {cause for cause, keys in alone.items() if key(edit) in keys} or set(alone) | brought
            hit = {edit.cause, *edit.also} <= truth
            named[edit.cause] += 1
            true[edit.cause if hit else min(truth)] += 1
            right[edit.cause] += hit
    precision, recall = right.total() / named.total(), right.total() / true.total()
    with capsys.disabled():
        print(
            f"\nattribution over {CASES} injected cases: {named.total()} edits, precision {precision:.4f}, recall {recall:.4f}"
        )
        for cause in sorted(named | true):
            print(f"  {cause}: {right[cause]} right, {named[cause]} named, {true[cause]} true")
    assert precision >= 0.99
    assert recall >= 0.99
    assert len(right) >= 12, "nearly every injected cause was really set off"


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda injection: injection.name)
def test_each_injection_alone_is_named(injection: Injection) -> None:
    rng, found = random.Random(7), Counter[Cause]()
    for _ in range(12):
        setup = build([injection])
        prompt = random_prompt(rng, [injection])
        untouched = {key(edit) for edit in traced([], prompt, setup.options)}
        found.update(
            e.cause
            for e in traced([injection], prompt, setup.options)
            if key(e) not in untouched or injection.name == "space mark"
        )
    found.pop(Cause.SPECIAL_REMOVED, None)
    assert found[injection.cause] > 0
    assert set(found) <= {injection.cause, *injection.brings}


def test_every_cause_has_its_evidence_and_its_cure() -> None:
    assert set(CURES) == set(Cause)
    rng = random.Random(3)
    for injection in INJECTIONS:
        setup = build([injection])
        for edit in traced([injection], random_prompt(rng, [injection]), setup.options):
            assert (edit.evidence is None) == (edit.cause is Cause.UNEXPLAINED)
            assert edit.cure == CURES[edit.cause]
            if edit.evidence and edit.evidence.changed != SAME_IDS:
                assert edit.evidence.echo_before != edit.evidence.echo_after or edit.cause is Cause.TRUNCATION


def test_a_change_without_a_known_cause_is_unexplained() -> None:
    """A tokenizer that answers another text altogether is not blamed on the nearest cause."""

    class Liar(FastTokenizer):
        def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
            return "zz" + super().decode(token_ids, skip_special_tokens=skip_special_tokens)

        def change(self, name: str, argument: object = None) -> Liar | None:
            return self  # whatever is changed, it goes on lying

    rust = RustTokenizer(models.BPE({"a": 0, "b": 1, "z": 2}, []))
    rust.decoder = decoders.Fuse()
    liar = Liar(rust)
    assert {edit.cause for edit in trace_echo(liar, "ab").edits} == {Cause.UNEXPLAINED}


def test_two_causes_of_one_edit_are_both_named() -> None:
    """Lost bytes behind a cut: neither the cut nor the decoder alone gives the character back."""
    setup = build([i for i in INJECTIONS if i.name in ("truncation", "no byte decoder")])
    edits = trace_echo(setup.tokenizer(), "abcde\u65e5").edits
    assert [(e.prompt_text, {e.cause, *e.also}) for e in edits] == [("\u65e5", {Cause.BYTE_FALLBACK, Cause.TRUNCATION})]


def test_a_spelling_that_only_the_normalizer_knows_is_the_normalizers() -> None:
    """ "B" is not in the vocabulary, but it was never unknown: it was made "b" first."""
    lower = RustTokenizer(models.BPE({"a": 0, "b": 1}, []))
    lower.normalizer, lower.decoder = normalizers.Lowercase(), decoders.Fuse()
    (edit,) = trace_echo(lower, "aB").edits
    assert (edit.cause, edit.also) == (Cause.NORMALIZER, (Cause.UNKNOWN_TOKEN,))
