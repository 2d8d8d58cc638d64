"""Write data/probes/corpus.json: the diagnostic inputs every snapshot is taken with.

Plain text is blind to most tokenizer changes (0 of 4 real pairs), so half the probes are patterns that a
snapshot fills with the tokenizer's own added tokens.  Raise VERSION whenever a probe changes: snapshots of
different corpora are not comparable.  Runs in a second; the result is the same on every machine.
"""

from __future__ import annotations

import json
from pathlib import Path

VERSION = "2"

CONTEXTS = {
    "alone": ("{token}", "the token itself"),
    "newline": ("{token}\n", "rstrip eats the newline (Phi-3, May 2024)"),
    "blank-line": ("{token}\n\n", "rstrip eats a blank line"),
    "space": ("{token} ", "rstrip eats the space"),
    "letter": ("{token}a", "single_word, dummy prefix after a special token"),
    "space-letter": ("{token} a", "legacy and non-legacy prefixes differ here"),
    "digit": ("{token}7", "digit splitting after a token"),
    "newline-letter": ("{token}\na", "the shape of every chat header"),
    "after-letter": ("a{token}", "lstrip, single_word"),
    "after-space": ("a {token}", "lstrip eats the space"),
    "after-newline": ("a\n{token}", "lstrip eats the newline"),
    "doubled": ("{token}{token}", "two in a row"),
    "before-other": ("{token}{other}", "next to another added token"),
    "newline-other": ("{token}\n{other}", "a turn border"),
    "inside": ("a{token}b", "in the middle of a word"),
}

TURNS = {
    "llama2-1": "[INST] Hi [/INST] ",
    "llama2-2": "[INST] Hi [/INST] Hello. {eos}{bos}[INST] Who? [/INST] ",
    "llama2-3": "{bos}[INST] Hi [/INST] Hello. {eos}{bos}[INST] Who? [/INST] Me. {eos}{bos}[INST] こんにちは [/INST] ",
    "llama2-system": "{bos}[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello. {eos}{bos}[INST] 1 + 1? [/INST] ",
    "llama2-wide": "{bos}  [INST] Hi [/INST]  Hello. {eos}{bos}  [INST] Who? [/INST]",
    "llama2-code": "{bos}[INST] Fix:\n    return 1\n [/INST] Sure. {eos}{bos}[INST] \tx [/INST] ",
    "lines": "{bos}User: Hi\nAssistant: Hello.{eos}\nUser: Who?\nAssistant:",
    "ends-in-newline": "{bos}Hi{eos}\n{bos}Who?{eos}\n",
}

HI, HELLO, WHO, ME = "Hi", "Hello.", "Who?", "I am Lily, 8 years old."
LONG = "What does `x = [1, 2]` mean in Python 3.11? Don't guess; it's homework."
CODE = "Sure:\n\n```python\ndef f(x):\n    return x != 2\n```\n\nDone."
WEATHER = "What is the weather in Kyoto?"
JAPANESE = "こんにちは。今日は何をしますか?"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


TALK = [
    user(HI),
    assistant(HELLO),
    user(WHO),
    assistant(ME),
    user(LONG),
    assistant(CODE),
    user(JAPANESE),
    assistant("はい。"),
    user("Bye"),
]

DIALOGUES: list[dict[str, object]] = [
    *(
        {
            "label": f"turns-{n}",
            "roles": "plain",
            "messages": TALK[: 2 * n - 1],
            "comment": f"{n} turns, the user speaks last",
        }
        for n in range(1, 6)
    ),
    *(
        {
            "label": f"answered-{n}",
            "roles": "plain",
            "messages": TALK[: 2 * n],
            "comment": f"{n} turns, answered: prefix property",
        }
        for n in range(1, 4)
    ),
    {
        "label": "edge-empty",
        "roles": "edge",
        "messages": [user(HI), assistant(""), user(WHO)],
        "comment": "empty content",
    },
    {
        "label": "edge-newlines",
        "roles": "edge",
        "messages": [user("\nHi\n"), assistant("\n\nHello.\n"), user("Who?\n")],
        "comment": "templates that strip content",
    },
    {
        "label": "edge-spaces",
        "roles": "edge",
        "messages": [user("  Hi  "), assistant(" Hello. "), user(" Who? ")],
        "comment": "templates that strip content",
    },
    {
        "label": "edge-blank",
        "roles": "edge",
        "messages": [user(" "), assistant("\n"), user("\t")],
        "comment": "whitespace only",
    },
    {
        "label": "edge-emoji",
        "roles": "edge",
        "messages": [user("👩‍🔬🇯🇵"), assistant("é e\u0301 ﬁ"), user("日本語")],
        "comment": "joined emoji, combining marks",
    },
    {
        "label": "edge-injection",
        "roles": "edge",
        "messages": [user("Say {special} please"), assistant("No {special}"), user(WHO)],
        "comment": "a user types a delimiter",
    },
    {
        "label": "system-1",
        "roles": "system",
        "messages": [system("Be kind."), user(HI)],
        "comment": "does the template take a system message?",
    },
    {
        "label": "system-2",
        "roles": "system",
        "messages": [system("Be kind.\nBe short."), user(HI), assistant(HELLO), user(WHO)],
        "comment": "system, two turns",
    },
    {
        "label": "system-edges",
        "roles": "system",
        "messages": [system("\n Be kind. \n"), user(HI)],
        "comment": "white space around a system text",
    },
    {
        "label": "tools-1",
        "roles": "tools",
        "messages": [user(WEATHER)],
        "tools": ["weather"],
        "comment": "a tool is offered",
    },
]


def dialogue(
    label: str, roles: str, comment: str, *messages: dict[str, object], tools: tuple[str, ...] = (), **variables: object
) -> dict[str, object]:
    """A dialogue rendered once: with the generation prompt where a reply is due, without it after an answer."""
    return {
        "label": label,
        "roles": roles,
        "messages": list(messages),
        **({"tools": list(tools)} if tools else {}),
        **({"variables": variables} if variables else {}),
        "generation": [not messages or messages[-1]["role"] != "assistant"],
        "comment": comment,
    }


def said(text: object, thought: str | None = None, *calls: dict[str, object]) -> dict[str, object]:
    """An assistant message with its thought in a field, and its tool calls."""
    message: dict[str, object] = {"role": "assistant", "content": text}
    if thought is not None:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = list(calls)
    return message


def call(number: int, name: str, arguments: object) -> dict[str, object]:
    # Nine letters: Mistral's templates refuse any other length.
    return {"id": f"call0000{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(number: int, name: str, text: object) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": f"call0000{number}", "name": name, "content": text}


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


THOUGHT, LATER_THOUGHT = "They greet me.\nI greet back.", "Their name? No: mine."
THINKING = f"<think>\n{THOUGHT}\n</think>\n\n{HELLO}"
KYOTO, OSAKA = {"city": "Kyoto"}, {"city": "Osaka"}
SEARCH = {
    "query": "Kyoto",
    "limit": 3,
    "exact": True,
    "deep": False,
    "none": None,
    "sites": ["a.example", "b.example"],
    "area": {"km": 1.5},
}
KYOTO_CALL, OSAKA_CALL = call(1, "weather", KYOTO), call(2, "weather", OSAKA)
SEARCH_CALL, CLOCK_CALL = call(3, "search", SEARCH), call(4, "clock", {})
SUNNY, RAINY = '{"sky": "sunny", "celsius": 21}', "Rain <b>all</b> day"
CALLED = (user(WEATHER), said("", None, KYOTO_CALL), result(1, "weather", SUNNY))
TWICE = (
    user(WEATHER),
    said("I look.", None, KYOTO_CALL, OSAKA_CALL),
    result(1, "weather", SUNNY),
    result(2, "weather", RAINY),
)
THOUGHT_TALK = (user(HI), said(HELLO, THOUGHT), user(WHO), said(ME, LATER_THOUGHT))
THINKING_TALK = (user(HI), assistant(THINKING), user(WHO), assistant(f"<think>\n{LATER_THOUGHT}\n</think>\n\n{ME}"))
STEPS = (
    user(WEATHER),
    said("I look.", "Ask the tool.", KYOTO_CALL),
    result(1, "weather", SUNNY),
    said("And there.", "Ask again.", OSAKA_CALL),
    result(2, "weather", RAINY),
    said("Sunny there, rain here.", "Both are known."),
)
DEVELOPER = {"role": "developer", "content": "Be kind."}
IMAGE, VIDEO = {"type": "image"}, {"type": "video"}
EVERY = ("weather", "search", "clock")

DIALOGUES += [
    # Thoughts: in a field, in the content, of the last answer, of an earlier one, switched on and off.
    dialogue("thought-field", "thoughts", "an earlier thought, in a field", *THOUGHT_TALK[:3]),
    dialogue("thought-field-last", "thoughts", "the last answer's thought, in a field", *THOUGHT_TALK),
    dialogue("thought-content", "thoughts", "an earlier thought, in the content", *THINKING_TALK[:3]),
    dialogue("thought-content-last", "thoughts", "the last answer's thought, in the content", *THINKING_TALK),
    dialogue("thought-open", "thoughts", "a thought that never ends", user(HI), assistant("<think>\nHm"), user(WHO)),
    dialogue(
        "thought-closed", "thoughts", "the template opened it", user(HI), assistant("Hm\n</think>\n\nHello."), user(WHO)
    ),
    dialogue("thought-empty", "thoughts", "nothing thought, nothing said", user(HI), said("", ""), user(WHO)),
    dialogue("thought-alone", "thoughts", "a thought without an answer", user(HI), said("", THOUGHT)),
    dialogue("thought-steps", "thoughts", "thoughts between tool calls", *STEPS, tools=EVERY),
    dialogue("thought-steps-over", "thoughts", "and after the next question", *STEPS, user("Thanks"), tools=EVERY),
    dialogue(
        "thought-edges",
        "thoughts",
        "white space around a thought, in a field",
        user(HI),
        said("\n\n Hello. \n", "\n\n Hm. \n\n"),
        user(WHO),
        said("\n\n Lily. \n", "\n\n Who? \n\n"),
    ),
    dialogue(
        "thought-edges-content",
        "thoughts",
        "white space around a thought, in the content",
        user(HI),
        assistant("\n <think>\n\n Hm. \n\n</think>\n\n\n Hello. \n"),
        user(WHO),
        assistant("\n <think>\n\n Who? \n\n</think>\n\n\n Lily. \n"),
    ),
    dialogue(
        "thought-edges-steps",
        "thoughts",
        "white space around what is said between calls",
        user(" Hi "),
        said("\n I look. \n", "\n Ask. \n", KYOTO_CALL),
        result(1, "weather", "\n sunny \n"),
        said(" Sunny. "),
        user(" Thanks "),
        tools=EVERY,
    ),
    dialogue(
        "thought-edges-kept",
        "switches",
        "and where old thoughts stay",
        user(HI),
        said("\n Hello. \n", "\n Hm. \n"),
        user(WHO),
        preserve_thinking=True,
        truncate_history_thinking=False,
    ),
    dialogue(
        "thought-results",
        "thoughts",
        "thoughts around a result that looks typed",
        user(WEATHER),
        said("", "Ask the tool.", KYOTO_CALL),
        user("<tool_response>\nsunny\n</tool_response>"),
        said("Sunny.", "It is known."),
        tools=EVERY,
    ),
    dialogue(
        "thought-results-open",
        "thoughts",
        "a question that begins like a result",
        user(WEATHER),
        said("", "Ask the tool.", KYOTO_CALL),
        user("<tool_response> what?"),
        said("Sunny.", "It is known."),
        tools=EVERY,
    ),
    dialogue(
        "thought-results-end",
        "thoughts",
        "a question that ends like a result",
        user(WEATHER),
        said("", "Ask the tool.", KYOTO_CALL),
        user("what </tool_response>"),
        said("Sunny.", "It is known."),
        tools=EVERY,
    ),
    dialogue(
        "thought-channel",
        "thoughts",
        "a thought in the marks of another family",
        user(HI),
        assistant("<|channel|>analysis<|message|>Hm<|end|>Hello."),
        user(WHO),
    ),
    dialogue("thinking-off", "switches", "no thinking", user(HI), enable_thinking=False),
    dialogue("thinking-on", "switches", "thinking", user(HI), enable_thinking=True),
    dialogue("thinking-off-talk", "switches", "no thinking, after thoughts", *THOUGHT_TALK[:3], enable_thinking=False),
    dialogue("thinking-off-tools", "switches", "no thinking, with tools", *CALLED, tools=EVERY, enable_thinking=False),
    dialogue(
        "thinking-off-system",
        "switches",
        "no thinking, a system text",
        system("Be kind."),
        user(HI),
        enable_thinking=False,
    ),
    dialogue(
        "thinking-on-system", "switches", "thinking, a system text", system("Be kind."), user(HI), enable_thinking=True
    ),
    dialogue("thinking-word", "switches", "the switch of other families", user(HI), thinking=True),
    dialogue(
        "thinking-kept",
        "switches",
        "old thoughts stay",
        *THOUGHT_TALK,
        user(HI),
        preserve_thinking=True,
        truncate_history_thinking=False,
        clear_thinking=False,
    ),
    dialogue(
        "thinking-kept-content",
        "switches",
        "old thoughts in contents stay",
        *THINKING_TALK,
        user(HI),
        preserve_thinking=True,
        truncate_history_thinking=False,
    ),
    dialogue(
        "thinking-kept-steps",
        "switches",
        "old thoughts between calls stay",
        *STEPS,
        user(HI),
        tools=EVERY,
        preserve_thinking=True,
        truncate_history_thinking=False,
    ),
    dialogue(
        "effort-low",
        "switches",
        "little thinking",
        user(HI),
        reasoning_effort="low",
        low_effort=True,
        medium_effort=False,
    ),
    dialogue("effort-medium", "switches", "some thinking", user(HI), reasoning_effort="medium", medium_effort=True),
    # Tools: called, answered, several at once, arguments as a text, of every type; content that is absent.
    dialogue("called", "tools", "a tool was called, its result is there", *CALLED, tools=EVERY),
    dialogue("called-answered", "tools", "and the answer", *CALLED, assistant("It is sunny."), tools=EVERY),
    dialogue(
        "called-over", "tools", "and the next question", *CALLED, assistant("It is sunny."), user("Thanks"), tools=EVERY
    ),
    dialogue("called-open", "tools", "the call itself", *CALLED[:2], tools=EVERY),
    dialogue(
        "called-said",
        "tools",
        "words before the call",
        user(WEATHER),
        said("I look.", None, KYOTO_CALL),
        CALLED[2],
        tools=EVERY,
    ),
    dialogue(
        "called-null",
        "tools",
        "content that is null",
        user(WEATHER),
        said(None, None, KYOTO_CALL),
        CALLED[2],
        tools=EVERY,
    ),
    dialogue(
        "called-text",
        "tools",
        "arguments as a JSON text",
        user(WEATHER),
        said(None, None, call(1, "weather", '{"city": "Kyoto"}')),
        CALLED[2],
        tools=EVERY,
    ),
    dialogue(
        "called-bare",
        "tools",
        "a call without its wrapper",
        user(WEATHER),
        said("", None, {"name": "weather", "arguments": KYOTO}),
        CALLED[2],
        tools=EVERY,
    ),
    dialogue(
        "called-types",
        "tools",
        "arguments of every type",
        user("Find it"),
        said("", None, SEARCH_CALL),
        result(3, "search", "[]"),
        tools=EVERY,
    ),
    dialogue(
        "called-nothing",
        "tools",
        "no arguments",
        user("The time?"),
        said("", None, CLOCK_CALL),
        result(4, "clock", "12:00"),
        tools=EVERY,
    ),
    dialogue("called-twice", "tools", "two calls at once", *TWICE, tools=EVERY),
    dialogue(
        "called-twice-over",
        "tools",
        "and the next question",
        *TWICE,
        assistant("Sun and rain."),
        user("Thanks"),
        tools=EVERY,
    ),
    dialogue(
        "called-in-turn",
        "tools",
        "one call after the other",
        *CALLED,
        said("", None, OSAKA_CALL),
        result(2, "weather", RAINY),
        assistant("Rain."),
        tools=EVERY,
    ),
    dialogue(
        "called-parts",
        "tools",
        "a result in parts",
        *CALLED[:2],
        result(1, "weather", parts("sunny", "21")),
        tools=EVERY,
    ),
    dialogue(
        "called-object",
        "tools",
        "a result as an object",
        *CALLED[:2],
        result(1, "weather", {"sky": "sunny"}),
        tools=EVERY,
    ),
    dialogue("called-system", "tools", "a system text and tools", system("Be kind."), *CALLED, tools=EVERY),
    dialogue(
        "called-untold", "tools", "calls where no tool is offered", *CALLED, assistant("It is sunny."), user("Thanks")
    ),
    dialogue(
        "called-text-twice",
        "tools",
        "two calls at once, arguments as JSON texts",
        user(WEATHER),
        said(None, None, call(1, "weather", '{"city": "Kyoto"}'), call(2, "weather", "{}")),
        *TWICE[2:],
        assistant("Sun and rain."),
        user("Thanks"),
        tools=EVERY,
    ),
    dialogue(
        "called-text-said",
        "tools",
        "words before the call, arguments as a JSON text",
        user(WEATHER),
        said("I look.", None, call(1, "weather", '{"city": "Kyoto"}')),
        CALLED[2],
        assistant("Sunny."),
        tools=EVERY,
    ),
    dialogue(
        "called-thinking",
        "tools",
        "an unfinished thought before a call",
        user(WEATHER),
        said("<think>\nHm", None, KYOTO_CALL),
        CALLED[2],
        assistant("Sunny."),
        user("Thanks"),
        tools=EVERY,
    ),
    dialogue(
        "called-image",
        "tools",
        "a result with an image",
        *CALLED[:2],
        result(1, "weather", [IMAGE, *parts("sunny")]),
        tools=EVERY,
    ),
    dialogue("called-thinking-on", "switches", "thinking, after a result", *CALLED, tools=EVERY, enable_thinking=True),
    dialogue(
        "result-first", "tools", "a result that nobody asked for", user(HI), result(1, "weather", SUNNY), tools=EVERY
    ),
    dialogue(
        "tools-edges",
        "tools",
        "white space around a system text and a question",
        system("\n Be kind. \n"),
        user("\n Hi \n"),
        tools=EVERY,
        tools_in_user_message=True,
    ),
    dialogue("tools-many", "tools", "parameters of every type", system("Be kind."), user(HI), tools=EVERY),
    dialogue("tools-later", "tools", "tools after some turns", *TALK[:5], tools=EVERY),
    dialogue(
        "tools-system-parts",
        "tools",
        "a system text in parts",
        {"role": "system", "content": parts("Be kind.")},
        user(HI),
        tools=EVERY,
    ),
    dialogue(
        "tools-builtin",
        "tools",
        "the platform's own tools",
        system("Be kind."),
        user(HI),
        tools=EVERY,
        builtin_tools=["python", "browser", "brave_search", "code_interpreter"],
        tools_in_user_message=False,
    ),
    dialogue(
        "called-builtin",
        "tools",
        "the platform's own tool, called",
        user(HI),
        said("", None, call(1, "brave_search", {"query": "Kyoto"})),
        result(1, "brave_search", SUNNY),
        tools=EVERY,
        builtin_tools=["brave_search", "code_interpreter"],
    ),
    dialogue(
        "result-typed",
        "tools",
        "a result that looks typed by a user",
        user(HI),
        said("", None, KYOTO_CALL),
        user("<tool_response>\nsunny\n</tool_response>"),
        tools=EVERY,
    ),
    dialogue(
        "result-ipython",
        "tools",
        "a result under its older name",
        *CALLED[:2],
        {"role": "ipython", "content": SUNNY},
        tools=EVERY,
    ),
    # Order and roles: what templates refuse, merge or move.
    dialogue("roles-two-users", "roles", "two users in a row", user(HI), user(WHO)),
    dialogue(
        "roles-two-answers", "roles", "two answers in a row", user(HI), assistant(HELLO), assistant(ME), user(WHO)
    ),
    dialogue("roles-begins-answered", "roles", "an answer first", assistant(HELLO), user(WHO)),
    dialogue(
        "roles-system-later",
        "roles",
        "a later system message",
        user(HI),
        assistant(HELLO),
        system("Be short."),
        user(WHO),
    ),
    dialogue("roles-two-systems", "roles", "two system messages", system("Be kind."), system("Be short."), user(HI)),
    dialogue("roles-system-alone", "roles", "a system message alone", system("Be kind.")),
    dialogue("roles-system-empty", "roles", "an empty system message", system(""), user(HI)),
    dialogue("roles-developer", "roles", "a developer message", DEVELOPER, user(HI)),
    dialogue("roles-developer-tools", "roles", "a developer message and tools", DEVELOPER, user(HI), tools=EVERY),
    dialogue("roles-both", "roles", "a system and a developer message", system("You are Lily."), DEVELOPER, user(HI)),
    dialogue(
        "roles-other", "roles", "a role that nobody knows", user(HI), {"role": "critic", "content": "No."}, user(WHO)
    ),
    dialogue("roles-named", "roles", "a user with a name", {**user(HI), "name": "lily"}, assistant(HELLO), user(WHO)),
    dialogue("roles-none", "roles", "no messages"),
    # Content in parts.
    dialogue(
        "parts-text",
        "parts",
        "text parts",
        user(HI),
        {"role": "assistant", "content": parts(HELLO)},
        {"role": "user", "content": parts(WHO, " Really?")},
    ),
    dialogue(
        "parts-system", "parts", "a system text in parts", {"role": "system", "content": parts("Be kind.")}, user(HI)
    ),
    dialogue("parts-image", "parts", "images beside a text", {"role": "user", "content": [IMAGE, *parts(WHO), IMAGE]}),
    dialogue(
        "parts-numbered",
        "parts",
        "images and a video, numbered",
        {"role": "user", "content": [IMAGE, *parts(WHO), VIDEO]},
        add_vision_id=True,
    ),
    dialogue("parts-empty", "parts", "no parts", {"role": "user", "content": []}),
    dialogue("content-null", "parts", "no content", user(HI), {"role": "assistant", "content": None}, user(WHO)),
    dialogue("content-empty", "parts", "an empty question", user("")),
    dialogue(
        "parts-talk",
        "parts",
        "everything in parts",
        {"role": "system", "content": parts("Be kind.")},
        {"role": "user", "content": parts(HI)},
        {"role": "assistant", "content": parts(HELLO)},
        {"role": "user", "content": parts(WHO)},
    ),
    dialogue(
        "parts-answered",
        "parts",
        "and answered",
        {"role": "user", "content": parts(HI)},
        {"role": "assistant", "content": parts(HELLO)},
    ),
    dialogue(
        "parts-system-image", "parts", "an image in the system text", {"role": "system", "content": [IMAGE]}, user(HI)
    ),
    dialogue("parts-other", "parts", "a part that nobody knows", {"role": "user", "content": [{"type": "other"}]}),
    dialogue("parts-audio", "parts", "a recording", {"role": "user", "content": [{"type": "audio"}, *parts(WHO)]}),
    # What else templates ask for.
    dialogue("date-given", "variables", "a date from outside", system("Be kind."), user(HI), date_string="26 Jul 2024"),
    dialogue("documents", "variables", "documents", user(HI), documents=[{"title": "Kyoto", "text": "An old town."}]),
    dialogue("identity", "variables", "another name", user(HI), model_identity="You are Lily.", custom_tools=None),
]

TOOLS = {
    "weather": {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Its name."}},
                "required": ["city"],
            },
        },
    },
    "search": {
        "type": "function",
        "function": {
            "name": "search",
            "description": " Search <all> pages & more.\n",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": " What to find.\n"},
                    "order": {"type": "string", "enum": ["new", "old"], "default": "new"},
                    "limit": {"type": "integer", "default": 10},
                    "score": {"type": "number", "nullable": True},
                    "exact": {"type": "boolean", "description": "Letter by letter.", "default": False},
                    "sites": {"type": "array", "items": {"type": "string"}},
                    "pages": {"type": "array", "items": {"type": "integer"}, "nullable": True},
                    "boxes": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
                    "sizes": {"type": "array", "items": {"type": "number"}},
                    "marks": {"type": "array", "items": {"type": "boolean"}},
                    "rest": {"type": "array", "nullable": True},
                    "level": {"type": "integer", "enum": [1, 2]},
                    "free": {"type": "object"},
                    "area": {
                        "type": "object",
                        "properties": {"km": {"type": "number", "description": "Width."}, "name": {"type": "string"}},
                        "required": ["km"],
                    },
                    "when": {
                        "oneOf": [{"type": "string", "description": "a day"}, {"type": "string", "default": "now"}]
                    },
                    "what": {"type": ["string", "null"]},
                    "any": {"description": "Anything."},
                },
                "required": ["query", "area"],
            },
            "return": {"type": "object", "properties": {"url": {"type": "string"}}},
        },
    },
    "clock": {"type": "function", "function": {"name": "clock", "description": "Tell the time."}},
}

SEQUENCES = {
    "empty": ("", None, "BOS and EOS of nothing"),
    "word": ("Hi", None, "BOS and EOS around a word"),
    "pair": ("Hi", "Who?", "a pair of texts"),
    "begins-with-bos": ("{bos}Hi", None, "a template wrote the BOS: is a second one added?"),
    "ends-with-eos": ("Hi{eos}", None, "a template wrote the EOS: is a second one added?"),
}

SPACES = {
    "nbsp": "\u00a0",
    "em-space": "\u2003",
    "ideographic-space": "\u3000",
    "zero-width-space": "\u200b",
    "zero-width-joiner": "\u200d",
    "bom": "\ufeff",
    "vertical-tab": "\x0b",
    "form-feed": "\x0c",
    "next-line": "\x85",
    "line-separator": "\u2028",
    "metaspace": "\u2581",
    "soft-hyphen": "\u00ad",
}

SCRIPTS = {
    "english": "The quick brown fox jumps over the lazy dog.",
    "english-upper": "THE QUICK BROWN FOX",
    "english-title": "Once Upon A Time There Was A LittleGirl named lilyMay",
    "french": "L'été dernier, nous étions à Orléans; ça va ?",
    "german": "Größe, Straße und Übermut: »ja«",
    "turkish": "İstanbul'da ılık bir gün",
    "vietnamese": "Tiếng Việt có nhiều dấu thanh",
    "polish": "Zażółć gęślą jaźń",
    "russian": "Съешь ещё этих мягких французских булок",
    "greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "arabic": "السلام عليكم ورحمة الله",
    "hebrew": "שלום עולם, מה שלומך?",
    "hindi": "नमस्ते दुनिया, आप कैसे हैं?",
    "thai": "สวัสดีชาวโลก วันนี้เป็นอย่างไร",
    "korean": "안녕하세요, 오늘은 무엇을 할까요?",
    "japanese": "吾輩は猫である。名前はまだ無い。",
    "japanese-kana": "カタカナとひらがな、ﾊﾝｶｸ",
    "chinese": "今天天气很好,我们去公园吧。",
    "chinese-traditional": "憂鬱的臺灣烏龜",
    "rare-cjk": "𠮷野家の鱻𪚥",
    "georgian": "გამარჯობა მსოფლიო",
    "amharic": "ሰላም ለዓለም",
    "cherokee": "ᎣᏏᏲ ᎡᎶᎯ",
    "mixed": "Hello世界мирसंसार123",
}

MARKS = {
    "composed": "é à ü",
    "combining": "e\u0301 a\u0300 u\u0308",
    "full-width": "ＡＢＣ １２３ ！",
    "ligature": "ﬁne ﬂow",
    "circled": "①②③",
    "superscript": "x² + y³",
    "fraction": "½ ¾",
    "roman": "Ⅳ ⅷ",
    "degree": "25 ℃",
    "hangul-jamo": "\u1112\u1161\u11ab",
    "case-fold": "ẞ ß ǅ İ",
    "accents": "Crème brûlée naïve façade",
}

EMOJI = {
    "plain": "🙂",
    "words": "ok 👍 done",
    "skin": "👋🏽",
    "family": "👨‍👩‍👧‍👦",
    "flag": "🇫🇷🇯🇵",
    "keycap": "1️⃣",
    "old": "☺ ☺️",
    "new": "🫠🪿",
}

CODE_TEXTS = {
    "python": 'def f(x):\n    if x != 2:\n        return [1, 2][x]\n    return {"a": x}\n',
    "python-tabs": "for i in range(3):\n\tprint(i)\n\t\tbreak\n",
    "javascript": "const f = (x) => ({...x, y: `${x?.z ?? 1}`});\n",
    "c": '#include <stdio.h>\nint main(void) {\n  printf("%d\\n", 1);\n}\n',
    "html": '<div class="a">&amp; <br/></div>',
    "json": '{"a": [1, 2.5e-3, null], "b": "\\u00e9"}',
    "sql": "SELECT * FROM t WHERE a>=10 AND b IS NOT NULL;",
    "shell": "ls -la | grep '^d' > /tmp/x 2>&1",
    "regex": r"^(?:\s*[^\W\d_]+)+$",
    "latex": r"\frac{a}{b} \cdot \sum_{i=0}^{n} x_i",
    "camel": "parseHTTPResponseToJSON getElementById2x",
    "snake": "some_long_variable_name __init__ CONSTANT_NAME",
    "url": "see example.org/a/b?c=d&e=f#g",
    "markdown": "# Title\n\n- one\n- **two**\n\n> quote\n\n---\n",
}

CLEAN_UP = [
    " .",
    " ?",
    " !",
    " ,",
    " ' ",
    " n't",
    " 'm",
    " 's",
    " 've",
    " 're",
    "x != y",
    "do n't",
    "a . b",
    "a ,b",
    "( a )",
    "we 're , you 've .",
]

CONTRACTIONS = [
    "don't",
    "I'm",
    "you're",
    "she'll",
    "we've",
    "it's",
    "they'd",
    "DON'T",
    "I'M",
    "it’s",
    "'tis",
    "rock'n'roll",
]

BYTES = {
    "null": "\x00",
    "escape": "a\x1bb",
    "delete": "\x7f",
    "control": "\x01\x02\x03",
    "private-use": "\ue000",
    "noncharacter": "\uffff",
    "replacement": "\ufffd",
    "last": "\U0010ffff",
    "tag": "\U000e0041",
}

LONG_WORDS = {
    "word": "antidisestablishmentarianism",
    "repeated": "a" * 100,
    "no-space": "thequickbrownfox" * 6,
    "punctuation": "!?" * 20,
    "dashes": "-" * 33,
    "underscores": "_" * 17,
    "hex": "deadbeef0123456789abcdef",
    "base64": "SGVsbG8sIHdvcmxkISBIZWxsbw==",
}

MARKERS = [
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "<s>",
    "</s>",
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "<|user|>",
    "<|end|>",
    "<|endoftext|>",
    "<start_of_turn>",
    "<|eot_id|>",
    "<0x0A>",
    "### Instruction:",
]


def texts() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []

    def add(family: str, name: str, text: str, comment: str = "") -> None:
        rows.append({"label": f"{family}/{name}", "family": family, "text": text, "comment": comment})

    add("plain", "empty", "", "nothing")
    add("plain", "word", "Hello", "one word")
    add("plain", "leading-space", " Hello", "transformers 5.23 loses it from a bare tokenizer.model")
    add("plain", "trailing-space", "Hello ", "")
    add("plain", "both", " Hello ", "")
    add("plain", "lower", "hello world", "")
    add("plain", "two-sentences", "Hello there. How are you today?", "")
    for n in range(1, 17):
        add("whitespace", f"spaces-{n:02}", "a" + " " * n + "b", "inner run")
    for n in (1, 2, 3, 4, 8):
        add("whitespace", f"leading-{n}", " " * n + "b", "leading run")
        add("whitespace", f"trailing-{n}", "a" + " " * n, "trailing run")
        add("whitespace", f"only-{n}", " " * n, "nothing else")
    for n in (1, 2, 3, 4):
        add("whitespace", f"newlines-{n}", "a" + "\n" * n + "b", "")
        add("whitespace", f"tabs-{n}", "a" + "\t" * n + "b", "")
    add("whitespace", "only-newline", "\n", "")
    add("whitespace", "leading-newline", "\nb", "")
    add("whitespace", "trailing-newline", "a\n", "")
    add("whitespace", "crlf", "a\r\nb\r\n", "")
    add("whitespace", "cr", "a\rb", "")
    add("whitespace", "newline-indent", "\n    return", "merge ties of transformers 5 differ here")
    add("whitespace", "mixed", "a \t \n  \n\t b", "")
    for name, character in SPACES.items():
        add("whitespace", name, f"a{character}b", f"U+{ord(character):04X}")
    for n in range(1, 10):
        add("digits", f"run-{n}", "123456789"[:n], "digit grouping")
    for name, text in {
        "year": "in 2023, on 11/21",
        "float": "3.14159e-10",
        "grouped": "1,234,567.89",
        "leading-zero": "007",
        "long": "9" * 24,
        "words": "a1b22c333",
        "arabic-indic": "٠١٢٣",
    }.items():
        add("digits", name, text)
    for number, text in enumerate(CONTRACTIONS):
        add("contractions", f"{number:02}", text, "pre-tokenizer regex")
    for number, text in enumerate(CLEAN_UP):
        add("clean-up", f"{number:02}", text, "clean_up_tokenization_spaces rewrites it")
    for family, table in (
        ("scripts", SCRIPTS),
        ("marks", MARKS),
        ("emoji", EMOJI),
        ("code", CODE_TEXTS),
        ("bytes", BYTES),
        ("long", LONG_WORDS),
    ):
        for name, text in table.items():
            add(family, name, text)
    for number, text in enumerate(MARKERS):
        add("markers", f"{number:02}", f"{text} x", "another family's delimiter, which must stay text")
    add("bytes", "lone-surrogate", "a\ud800b", "no tokenizer can take it: an error is the right answer")
    return rows


def main() -> None:
    corpus = {
        "schema": 1,
        "version": VERSION,
        "texts": texts(),
        "contexts": [{"label": k, "pattern": p, "comment": c} for k, (p, c) in CONTEXTS.items()],
        "turns": [{"label": k, "pattern": p} for k, p in TURNS.items()],
        "sequences": [{"label": k, "text": t, "pair": p, "comment": c} for k, (t, p, c) in SEQUENCES.items()],
        "dialogues": DIALOGUES,
        "tools": TOOLS,
    }
    path = Path(__file__).parent / "probes" / "corpus.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(corpus, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    print(len(corpus["texts"]), "texts,", len(CONTEXTS), "contexts a token,", len(DIALOGUES), "dialogues")


if __name__ == "__main__":
    main()
