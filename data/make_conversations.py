"""Write data/dialogues/conversations.jsonl: dialogues that think and call tools, the same bytes on every machine.

Run ``python data/make_conversations.py [--out FILE]``. They stand in a file of their own, so that the figures over
dialogues.jsonl stay. The tiny model was not taught to answer them. As there, every dialogue has a generator of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from conversation_tools import CALLS, TOOLS, Call
from make_dialogues import plain, to_jsonl

Messages = list[dict[str, Any]]

COUNTS = {
    "reasoning": 30, "tool": 24, "reasoning-tool": 24, "several-calls": 20, "loop": 20, "arguments": 24, "failed": 10,
    "blanks": 16, "parts": 12, "roles": 12, "open": 8,
}  # fmt: skip

THOUGHTS = [
    "The user asks a plain question. I answer it in one sentence.", "Let me see.\n\n1. What is asked?\n2. What do I know?\n",
    "考えてみよう。まず質問を読む。", "\nShort.\n", "", "If x < 3 & y > 2, the tag <b> stays.", "Wait… no: 1.0 is not 1. 🤔",
    "They wrote `</think>` in a string; it is no end.", "  Indented thought.",
]  # fmt: skip
ROUND = [" {}", "{}\n", "\n\n{}", "{}  ", " \n{}\n ", "\t{}"]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def reply(text: str | None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def thought(rng: random.Random) -> dict[str, Any]:
    """Reasoning under the name that most servers give it, or the one of others."""
    return {"reasoning_content" if rng.random() < 0.8 else "reasoning": rng.choice(THOUGHTS)}


def called(rng: random.Random, calls: list[Call], text: str | None = None, **fields: Any) -> Messages:
    """A reply that calls tools, arguments as objects, and their results; ids are of nine letters, as Mistral's are."""
    ids = ["".join(rng.choices(string.ascii_letters + string.digits, k=9)) for _ in calls]
    asked = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, (name, arguments, *_) in zip(ids, calls, strict=True)
    ]
    results = [
        {"role": "tool", "tool_call_id": id, "name": name, "content": result}
        for id, (name, _, result, *_) in zip(ids, calls, strict=True)
    ]
    return [reply(text, **fields, tool_calls=asked), *results]


def talk(rng: random.Random, count: int) -> Iterator[tuple[str, str]]:
    language = rng.choice(["en", "ja"])
    return iter((plain(rng, language) + plain(rng, language))[:count])


def reasoning(rng: random.Random) -> Messages:
    return [m for asked, told in talk(rng, rng.randint(1, 3)) for m in (user(asked), reply(told, **thought(rng)))]


def tool(rng: random.Random) -> Messages:
    """A call, its result and an answer; a new question; sometimes a word before the call."""
    messages: Messages = []
    for make in rng.sample(CALLS, rng.randint(1, 2)):
        call = make(rng)
        messages += [user(call[3]), *called(rng, [call], rng.choice([None, "", "Let me look."])), reply(call[4])]
    return [*messages, *(m for asked, told in talk(rng, 1) for m in (user(asked), reply(told)))]


def reasoning_tool(rng: random.Random) -> Messages:
    call = rng.choice(CALLS)(rng)
    messages = [
        user(call[3]),
        *called(rng, [call], rng.choice([None, ""]), **thought(rng)),
        reply(call[4], **thought(rng)),
    ]
    return [*messages, *(m for asked, told in talk(rng, 1) for m in (user(asked), reply(told, **thought(rng))))]


def several_calls(rng: random.Random) -> Messages:
    """Two or three calls in one reply, the same tool twice among them; results in the order of the calls, or not."""
    calls = [make(rng) for make in rng.choices(CALLS, k=rng.randint(2, 3))]
    said, *results = called(rng, calls)
    if rng.random() < 0.3:
        results.reverse()
    return [user(" ".join(call[3] for call in calls)), said, *results, reply(" ".join(call[4] for call in calls))]


def loop(rng: random.Random) -> Messages:
    """Calls one after the other before the answer comes."""
    calls = [make(rng) for make in rng.sample(CALLS, rng.randint(2, 4))]
    fields = [thought(rng) if rng.random() < 0.5 else {} for _ in calls]
    steps = [m for call, more in zip(calls, fields, strict=True) for m in called(rng, [call], None, **more)]
    return [user(calls[0][3]), *steps, reply(calls[-1][4]), user("Thanks!"), reply("You are welcome.")]


def arguments(rng: random.Random) -> Messages:
    """Arguments as JSON text, written as models write it: tight, with blanks, over lines, escaped, or empty."""
    calls = [make(rng) for make in rng.sample(CALLS, 2)]
    said, *results = called(rng, calls)
    for call in said["tool_calls"]:
        form = rng.choice([{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}, {"sort_keys": True}])
        given = call["function"]["arguments"]
        call["function"]["arguments"] = json.dumps(given, **form) if given or rng.random() < 0.5 else ""
    return [user(" ".join(call[3] for call in calls)), said, *results, reply(calls[0][4])]


def failed(rng: random.Random) -> Messages:
    """A tool that fails, is called again, and gives something or nothing."""
    call = rng.choice(CALLS)(rng)
    broken = (*call[:2], rng.choice(["Error: timed out", '{"error": null}', ""]), *call[3:])
    return [user(call[3]), *called(rng, [broken]), *called(rng, [call], "Again."), reply(call[4])]


def blanks(rng: random.Random) -> Messages:
    """Blanks around questions, replies and reasoning, and replies of blanks alone."""
    messages: Messages = []
    for asked, told in talk(rng, rng.randint(2, 3)):
        text = rng.choice(ROUND).format(told) if rng.random() < 0.9 else rng.choice(["", " ", "\n"])
        fields = {"reasoning_content": rng.choice(ROUND).format(rng.choice(THOUGHTS))} if rng.random() < 0.4 else {}
        messages += [user(rng.choice(["{}", *ROUND]).format(asked)), reply(text, **fields)]
    return messages


def parts(rng: random.Random) -> Messages:
    """Contents as lists of text parts."""
    messages: Messages = []
    for asked, told in talk(rng, 2):
        cut = rng.randint(0, len(asked))
        pieces = [asked[:cut], asked[cut:]] if rng.random() < 0.7 else [asked]
        messages += [{"role": "user", "content": [{"type": "text", "text": piece} for piece in pieces]}, reply(told)]
    return messages


def roles(rng: random.Random) -> Messages:
    """A developer's word first, and system or developer messages in the middle."""
    (asked, told), (later, answer) = talk(rng, 2)
    middle = {"role": rng.choice(["system", "developer"]), "content": "From now on, answer in one word."}
    first = [{"role": "developer", "content": "Be kind."}] if rng.random() < 0.5 else []
    return [*first, user(asked), reply(told), middle, user(later), reply(answer)]


def unanswered(rng: random.Random) -> Messages:
    """Whatever it is, without its last message: a question or a result waits."""
    return rng.choice([tool, loop, reasoning])(rng)[:-1]


MAKERS: dict[str, Callable[[random.Random], Messages]] = {
    "reasoning": reasoning, "tool": tool, "reasoning-tool": reasoning_tool, "several-calls": several_calls, "loop": loop,
    "arguments": arguments, "failed": failed, "blanks": blanks, "parts": parts, "roles": roles, "open": unanswered,
}  # fmt: skip


def settings(rng: random.Random, messages: Messages) -> dict[str, Any]:
    """The tools that are called, and some that are not; for some that think, whether they are told to."""
    names = {call["function"]["name"] for message in messages for call in message.get("tool_calls", ())}
    thinks = any("reasoning" in key for message in messages for key in message)
    offered = [TOOLS[name] for name in TOOLS if name in names or (names and rng.random() < 0.3)]
    switch = {"enable_thinking": rng.random() < 0.7} if thinks and rng.random() < 0.4 else {}
    return {**({"tools": offered} if offered else {}), **({"variables": switch} if switch else {})}


def make_conversation(kind: str, number: int) -> dict[str, Any]:
    rng = random.Random(f"{kind} {number}")
    messages = MAKERS[kind](rng)
    if kind != "roles" and rng.random() < 0.3:
        messages.insert(
            0, {"role": "system", "content": rng.choice(["Be brief.", "日本語で答えてください。", " Use tools. "])}
        )
    return {"id": f"{kind}-{number:03}", "labels": {"kind": kind}, "messages": messages, **settings(rng, messages)}


def make_conversations() -> list[dict[str, Any]]:
    return [make_conversation(kind, number) for kind, count in COUNTS.items() for number in range(1, count + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "dialogues" / "conversations.jsonl")
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_jsonl(make_conversations()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
