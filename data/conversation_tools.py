"""The tools that the conversations call: what each takes, what it is asked for, and what it gives back.

Everything here is written by us. The arguments hold what templates write in ways of their own: ``false``, ``null``,
``1.0``, nested objects and lists, text beyond ASCII, quotes, and nothing at all.
"""

from __future__ import annotations

import json
import random
from typing import Any

Call = tuple[str, dict[str, Any], str, str, str]
"""A tool's name, its arguments, its result, and a question and an answer that go with them."""

PLACES = ["Oslo", "São Paulo", "東京", "Zürich", "Tromsø", "İzmir", "Kraków", "那覇", "O'Fallon", 'the "Old" Town']
ITEMS = ["soy sauce", "抹茶", "crème fraîche", "rice", "ナット M8", "a <b>bold</b> tag & more", 'tape 2"']
PEOPLE = ["Ann", "Søren", "花子", "Renée", "Łukasz"]


def _tool(name: str, description: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}

TOOLS = {
    "weather": _tool(
        "weather", "Tell the weather of a place.", ("place",), place={**_TEXT, "description": "A town, as it is written there."},
        days={"type": ["integer", "null"]}, metric={**_FLAG, "default": True},
    ),
    "convert": _tool(
        "convert", "Convert an amount from one unit to another.", ("amount", "unit"), amount=_NUMBER,
        unit={**_TEXT, "enum": ["km", "mi", "°C", "°F"]}, precise=_FLAG,
    ),
    "search": _tool(
        "search", "Search the stock; \"filters\" narrow it.", ("query",), query=_TEXT, limit={"type": "integer", "minimum": 1},
        filters={"type": "object", "properties": {"price": {"type": "array", "items": _NUMBER}, "in_stock": _FLAG, "maker": {"type": ["object", "null"]}}},
    ),
    "note": _tool("note", "Write a note down.\nReturns nothing.", ("text",), text=_TEXT, tags={"type": "array", "items": _TEXT}, due={"type": ["string", "null"]}),
    "now": _tool("now", "Tell the time."),
}  # fmt: skip


def weather(rng: random.Random) -> Call:
    place, degrees = rng.choice(PLACES), rng.randint(-20, 38)
    arguments: dict[str, Any] = {"place": place}
    arguments |= rng.choice([{}, {"days": None}, {"days": 3, "metric": False}, {"metric": True}])
    result = json.dumps({"place": place, "degrees": float(degrees), "rain": rng.random() < 0.5}, ensure_ascii=False)
    return "weather", arguments, result, f"What is the weather in {place}?", f"It is {degrees} degrees in {place}."


def convert(rng: random.Random) -> Call:
    amount = rng.choice([1.0, 0.0, 2.5, 100.0, -40.0, 1e-07, 12])
    unit = rng.choice(["km", "mi", "°C", "°F"])
    arguments = {"amount": amount, "unit": unit, "precise": rng.random() < 0.5}
    return (
        "convert",
        arguments,
        f"{amount * 1.5:.2f}",
        f"Convert {amount:g} {unit}, please.",
        f"That makes {amount * 1.5:.2f}.",
    )


def search(rng: random.Random) -> Call:
    item, count = rng.choice(ITEMS), rng.randint(0, 9)
    filters = rng.choice([
        {}, {"in_stock": False}, {"price": [0.0, 9.99], "in_stock": True}, {"maker": None},
        {"maker": {"name": "Müller & Söhne", "since": 1902, "brands": [{"id": 1.0, "old": None}, {}]}, "price": []},
    ])  # fmt: skip
    found = json.dumps([{"item": item, "left": left} for left in range(min(count, 3))], ensure_ascii=False)
    return (
        "search",
        {"query": item, "limit": 3, "filters": filters},
        found,
        f"Do we have {item}?",
        f"Yes: {count} of {item}.",
    )


def note(rng: random.Random) -> Call:
    who = rng.choice(PEOPLE)
    text = rng.choice([f"Call {who}.\nThen write.", f"{who}さんに電話する", f'{who} said "no"', f"  {who}: C:\\tmp\t"])
    arguments = {
        "text": text,
        "tags": rng.choice([[], ["urgent", "電話"], [""]]),
        "due": rng.choice([None, "2026-12-24", ""]),
    }
    return "note", arguments, "", f"Remind me of {who}.", f"I have noted it: {who}."


def now(rng: random.Random) -> Call:
    time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    return "now", {}, json.dumps({"time": time}), "What time is it?", f"It is {time}."


CALLS = (weather, convert, search, note, now)
