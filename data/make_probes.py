"""Write data/probes/corpus.json: the diagnostic inputs every snapshot is taken with.

Plain text is blind to most tokenizer changes (0 of 4 real pairs), so half the probes are patterns that a
snapshot fills with the tokenizer's own added tokens.  Raise VERSION whenever a probe changes: snapshots of
different corpora are not comparable.  Runs in a second; the result is the same on every machine.
"""

from __future__ import annotations

import json
from pathlib import Path

VERSION = "1"

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
        "label": "tools-1",
        "roles": "tools",
        "messages": [user("What is the weather in Kyoto?")],
        "tools": True,
        "comment": "a tool is offered",
    },
]

TOOL = {
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
        "tool": TOOL,
    }
    path = Path(__file__).parent / "probes" / "corpus.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(corpus, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    print(len(corpus["texts"]), "texts,", len(CONTEXTS), "contexts a token,", len(DIALOGUES), "dialogues")


if __name__ == "__main__":
    main()
