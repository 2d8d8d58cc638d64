"""Write data/dialogues/dialogues.jsonl: 1,500 labelled dialogues of 1 to 6 turns, the same bytes on every machine.

Run ``python data/make_dialogues.py [--out FILE]``. Standard library only; every dialogue has a generator of its own,
seeded by its kind, language and number, so that adding a kind changes no other dialogue.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from dialogue_kinds import CLEANUP, CODE, DRESSES, EMPTY, FILES, LISTS, NAMES, SCRIPTS, STORY, THINGS
from dialogue_topics import SYSTEM_PROMPTS, TOPICS, Topic
from taught import TAUGHT

Turns = list[tuple[str, str]]

# How many dialogues of each (kind, language).
COUNTS = {
    ("plain", "en"): 230, ("plain", "ja"): 210, ("plain", "mixed"): 110,
    ("taught", "en"): 70, ("taught", "ja"): 70, ("taught", "mixed"): 60,
    ("code", "en"): 70, ("code", "ja"): 30,
    ("list", "en"): 40, ("list", "ja"): 40,
    ("emoji", "en"): 30, ("emoji", "ja"): 30, ("emoji", "mixed"): 10,
    ("combining", "en"): 20, ("combining", "ja"): 20, ("combining", "mixed"): 20,
    ("whitespace", "en"): 50, ("whitespace", "ja"): 40, ("whitespace", "mixed"): 20,
    ("crlf", "en"): 30, ("crlf", "ja"): 20,
    ("tab", "en"): 30, ("tab", "ja"): 20,
    ("u2581", "en"): 20, ("u2581", "ja"): 20, ("u2581", "mixed"): 10,
    ("special-tokens", "en"): 40, ("special-tokens", "ja"): 30, ("special-tokens", "mixed"): 10,
    ("odd-spaces", "en"): 20, ("odd-spaces", "ja"): 20,
    ("rare", "en"): 15, ("rare", "ja"): 15,
    ("empty", "mixed"): 20,
    ("cleanup", "en"): 20,
    ("scripts", "other"): 40,
    ("long", "en"): 12, ("long", "ja"): 8,
}  # fmt: skip


def plain(rng: random.Random, language: str) -> Turns:
    """One topic: its opener, then some of its follow-ups in any order."""
    topic: Topic = rng.choice(TOPICS[language])
    facts = rng.choice(topic.facts())
    exchanges = [topic.opener, *rng.sample(topic.follow_ups, len(topic.follow_ups))][: rng.randint(1, 6)]
    return [
        (rng.choice(questions).format(**facts), rng.choice(answers).format(**facts)) for questions, answers in exchanges
    ]


def taught(rng: random.Random, language: str) -> Turns:
    """Taught pairs in any order, of one language or of both."""
    drawn = rng.sample([pair for pair in TAUGHT if language in (pair.language, "mixed")], rng.randint(1, 4))
    if language == "mixed" and len({pair.language for pair in drawn}) < 2:
        return taught(rng, language)
    return [(pair.question, pair.answer) for pair in drawn]


def from_pairs(
    pairs: list[tuple[str, str]], fill: Callable[[random.Random], dict[str, str]]
) -> Callable[[random.Random], Turns]:
    """A maker that draws some of ``pairs`` and fills their fields, the same values for a whole dialogue."""

    def make(rng: random.Random) -> Turns:
        fields = fill(rng)
        drawn = rng.sample(pairs, rng.randint(1, min(6, len(pairs))))
        return [(user.format(**fields), assistant.format(**fields)) for user, assistant in drawn]

    return make


def code_fields(rng: random.Random) -> dict[str, str]:
    return {"n": rng.choice(NAMES), "f": rng.choice(FILES), "k": str(rng.randint(2, 999))}


def number_fields(rng: random.Random) -> dict[str, str]:
    number = rng.randint(1, 9999)
    return {"k": str(number), "m": str(number + 1)}


def long(rng: random.Random, language: str) -> Turns:
    """A few thousand characters in one message, then a short exchange."""
    size = 4000 if language == "en" else 2000
    sentences: list[str] = []
    while sum(map(len, sentences)) < size:
        sentences.append(rng.choice(STORY[language]).format(i=len(sentences) + 1, n=rng.randint(2, 90)))
    story = (" " if language == "en" else "").join(sentences)
    ask, short = (
        ("Sum this up:", "A journey goes wrong.")
        if language == "en"
        else ("要約してください。", "旅がうまくいかない話です。")
    )
    opening = (
        (f"{ask}\n\n{story}", short)
        if rng.random() < 0.5
        else ("Tell a long story." if language == "en" else "長い話をして。", story)
    )
    return [opening, *plain(rng, language)[:2]]


def empty(rng: random.Random) -> Turns:
    """Messages without text among messages with text."""
    turns = [rng.choice(EMPTY), *plain(rng, rng.choice(["en", "ja"]))[:3]]
    return rng.sample(turns, len(turns))


def dressed(rng: random.Random, kind: str, language: str) -> Turns:
    """A plain dialogue of which about half of the messages, and at least one, wear the feature."""
    turns = plain(rng, language)
    messages = [message for turn in turns for message in turn]
    wearers = [rng.random() < 0.5 for _ in messages]
    wearers[rng.randrange(len(messages))] = True
    worn = [DRESSES[kind](rng, message) if wears else message for message, wears in zip(messages, wearers, strict=True)]
    return list(zip(worn[::2], worn[1::2], strict=True))


def make_turns(rng: random.Random, kind: str, language: str) -> Turns:
    """The turns of one dialogue of this kind and language."""
    if kind in DRESSES:
        return dressed(rng, kind, language)
    makers: dict[str, Callable[[random.Random], Turns]] = {
        "plain": lambda rng: plain(rng, language),
        "taught": lambda rng: taught(rng, language),
        "code": from_pairs(CODE.get(language, []), code_fields),
        "list": from_pairs(LISTS.get(language, []), lambda rng: {"t": rng.choice(THINGS[language])}),
        "scripts": from_pairs(SCRIPTS, number_fields),
        "cleanup": from_pairs(CLEANUP, number_fields),
        "long": lambda rng: long(rng, language),
        "empty": empty,
    }
    return makers[kind](rng)


def make_system(rng: random.Random, kind: str, language: str) -> str | None:
    """None for most dialogues and for all taught ones, else a short system prompt."""
    if kind == "taught" or rng.random() < 0.7:
        return None
    return rng.choice(SYSTEM_PROMPTS.get(language, SYSTEM_PROMPTS["en"]))


def make_dialogues() -> list[dict]:
    """All dialogues, no two with the same turns."""
    dialogues, seen = [], set()
    for (kind, language), count in COUNTS.items():
        number = draw = 0
        while number < count:
            draw += 1
            rng = random.Random(f"{kind} {language} {draw}")
            turns = make_turns(rng, kind, language)
            if tuple(turns) in seen:
                continue
            seen.add(tuple(turns))
            number += 1
            dialogues.append(
                {
                    "id": f"{kind}-{language}-{number:04}",
                    "labels": {"language": language, "kind": kind},
                    "system": make_system(rng, kind, language),
                    "turns": [{"user": user, "assistant": assistant} for user, assistant in turns],
                }
            )
    return dialogues


def to_jsonl(dialogues: Iterable[dict]) -> str:
    """One line a dialogue; U+0085 and U+2028 are escaped, since ``str.splitlines`` would cut a line there."""
    lines = (json.dumps(dialogue, ensure_ascii=False) for dialogue in dialogues)
    return "".join(line.replace("\u0085", "\\u0085").replace("\u2028", "\\u2028") + "\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "dialogues" / "dialogues.jsonl")
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_jsonl(make_dialogues()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
