r"""The kinds of dialogue that are not plain talk: exchanges of their own, and ways to dress a plain dialogue.

Everything here is written by us. A dress takes one message and returns it with the feature in it, such as
``\r\n`` line ends; which messages are dressed is decided in make_dialogues.py.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

Dress = Callable[[random.Random, str], str]

ZWJ_SEQUENCES = ["👨‍👩‍👧‍👦", "👩🏽‍💻", "🏳️‍🌈", "🧑‍🚀", "👩‍❤️‍👨", "🐻‍❄️", "❤️‍🔥", "🧔🏻‍♂️"]
EMOJI = [*ZWJ_SEQUENCES, "🎉", "🇯🇵", "👍🏿", "1️⃣", "☕️", "🫠", "✨", "#️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"]
COMBINING = [
    "e\u0301",
    "n\u0303o",
    "か\u3099",
    "は\u309aん",
    "a\u0323\u0302",
    "Z\u0351\u036b\u0343a\u0334\u0300",
    "q\u0307\u0323",
    "x\u20dd",
]
SPECIAL_TOKENS = [
    "</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<unk>", "<pad>", "<|user|>", "<|assistant|>",
    "<|system|>", "<|end|>", "<|endoftext|>", "<|im_start|>user", "<|im_end|>", "<|eot_id|>", "<0x0A>", "[PAD]", "[MASK]",
]  # fmt: skip
SPECIAL_PHRASES = [
    "{text} {token}", "{token}{text}", "{token} {text}", "What does {token} mean? {text}", "{text}\n{token}\n",
    "`{token}` {text}", "{text}{token}{other}", "{token} は何ですか? {text}", "Ignore this: {token}[INST] {text}",
]  # fmt: skip
ODD_SPACES = ["\u00a0", "\u3000", "\u2009", "\u200b", "\ufeff", "\u202f", "\u2028", "\u0085", "\u00ad", "\u2060"]
RARE = ["𠮷野家", "𩸽", "𝒜𝓑", "𐍈", "㍿", "ﷺ", "ẞ", "🜁", "㊙", "꧁꧂", "ⅷ", "ﬁne", "\ufffd", "Ⓐ", "𓂀", "ﾊﾝｶｸ", "ＦＵＬＬ"]
BARS = "▁▂▃▄▅▆▇█"


def _around(rng: random.Random, text: str, insert: str) -> str:
    """``text`` with ``insert`` before it, behind it or at one of its spaces."""
    place = rng.randrange(4)
    if place == 0:
        return insert + text
    if place == 1:
        return text + insert
    cut = text.find(" ") if " " in text else len(text) // 2
    return text[:cut] + insert + text[cut:]


def with_emoji(rng: random.Random, text: str) -> str:
    """A zero-width-joiner sequence, and often another emoji."""
    text = _around(rng, text, rng.choice(ZWJ_SEQUENCES))
    return _around(rng, text, rng.choice(EMOJI)) if rng.random() < 0.5 else text


def with_combining(rng: random.Random, text: str) -> str:
    """Decomposed letters (NFD) and a cluster of base and marks."""
    return _around(rng, unicodedata.normalize("NFD", text), rng.choice(COMBINING))


def with_whitespace(rng: random.Random, text: str) -> str:
    """Leading, trailing or repeated whitespace."""
    shape = rng.randrange(6)
    run = " " * rng.randint(2, 7)
    if shape == 0:
        return run[1:] + text
    if shape == 1:
        return text + run[1:]
    if shape == 2:
        return "\n" + text + "\n\n"
    if shape == 3:
        return f" {text.replace(' ', run)} "
    if shape == 4:
        return f"{text}{run}\n{run}{text}"
    return text.replace(" ", run, 2) + run if " " in text else text[:1] + run + text[1:]


def with_crlf(rng: random.Random, text: str) -> str:
    """Windows line ends."""
    lines = text.split("\n")
    return "\r\n".join([*lines, rng.choice(["Thanks." if text.isascii() else "以上です。", "", "--", "\r"])])


def with_tabs(rng: random.Random, text: str) -> str:
    """Tabs at the beginning, in the middle or between columns."""
    return rng.choice(["\t{}", "{}\t", "a\tb\tc\n1\t2\t3\n{}", "target:\n\t{}", "{}\t\t# note"]).format(text)


def with_u2581(rng: random.Random, text: str) -> str:
    """U+2581, the character that SentencePiece writes for a space."""
    bars = "".join(rng.choice(BARS) for _ in range(rng.randint(2, 8)))
    return (
        rng.choice(["▁{}", "{}▁", "{} ▁▁", f"{{}} {bars}▁", "▁ {}"]).format(text)
        if rng.random() < 0.7
        else "▁".join(text.split(" ")) + "▁"
    )


def with_special_tokens(rng: random.Random, text: str) -> str:
    """Text that spells a special token of some tokenizer."""
    token, other = rng.sample(SPECIAL_TOKENS, 2)
    return rng.choice(SPECIAL_PHRASES).format(text=text, token=token, other=other)


def with_odd_spaces(rng: random.Random, text: str) -> str:
    """No-break, ideographic, thin and zero-width spaces, byte order marks, line separators."""
    space = rng.choice(ODD_SPACES)
    return rng.choice(["{s}{t}", "{t}{s}", "{t}{s}{s}.", "{u}"]).format(
        s=space, t=text, u=text.replace(" ", space) + space
    )


def with_rare(rng: random.Random, text: str) -> str:
    """Characters that no small vocabulary holds: they fall back to bytes or to the unknown token."""
    return _around(rng, text, " " * rng.randrange(2) + rng.choice(RARE))


DRESSES: dict[str, Dress] = {
    "combining": with_combining,
    "crlf": with_crlf,
    "emoji": with_emoji,
    "odd-spaces": with_odd_spaces,
    "rare": with_rare,
    "special-tokens": with_special_tokens,
    "tab": with_tabs,
    "u2581": with_u2581,
    "whitespace": with_whitespace,
}

NAMES = ["total", "items", "count", "user_name", "price", "result", "line", "words", "rate", "buffer"]
FILES = ["notes.txt", "data.csv", "main.py", "log.json", "日記.txt", "report.md"]
CODE = {
    "en": [
        ("Write a Python function that doubles {n}.", "def double({n}):\n    return {n} * 2"),
        ("Sum the list {n} in Python.", "```python\ntotal = 0\nfor x in {n}:\n    total += x\nprint(total)\n```"),
        (
            "How do I read {f} line by line?",
            'with open("{f}", encoding="utf-8") as lines:\n    for line in lines:\n        print(line.rstrip())',
        ),
        ("Show me the same in JavaScript.", "const {n} = [1, 2, 3];\nconsole.log({n}.map((x) => x * {k}));"),
        ("Count the rows with SQL.", "SELECT COUNT(*) AS {n}\nFROM   orders\nWHERE  {n} >= {k};"),
        ("And in the shell?", "$ grep -c '{n}' {f} | sort -n"),
        ("What is wrong with `{n}[{k}]`?", "`{n}` has fewer than {k} elements, so you get an `IndexError`."),
        ("Give me the config as YAML.", "{n}:\n  enabled: true\n  limit: {k}\n  files:\n    - {f}"),
        ("Turn {n} into JSON.", '{{"{n}": {k}, "file": "{f}"}}'),
        ("Write a Makefile rule for {f}.", "{f}: src/{n}.c\n\tcc -o $@ $< -O2\n"),
        ("A C loop to {k}, please.", "for (int i = 0; i < {k}; i++) {{\n    {n} += i;\n}}"),
        ("Add a test.", "def test_{n}():\n    assert double({k}) == {k} * 2\n"),
        (
            "Nest it once more.",
            "    if {n}:\n        for i in range({k}):\n            if i != {k}:\n                yield i\n",
        ),
        ("A regex for words, please.", r"`\b\w+\b` finds words; `^\s*$` finds empty lines in {f}."),
    ],
    "ja": [
        ("Pythonで{n}を二倍にする関数を書いてください。", "def double({n}):\n    # 二倍にして返す\n    return {n} * 2"),
        ("{f}を一行ずつ読むには?", '```python\nfor line in open("{f}"):\n    print(line, end="")\n```'),
        ("JSONにしてください。", '{{"名前": "{n}", "値": {k}}}'),
        ("`{n}[{k}]`でエラーになります。", "`{n}` の長さが {k} 以下なので、`IndexError` になります。"),
        ("コメントも付けて。", "# {n} を数える\n{n} = {k}  # 初期値\n"),
        ("HTMLでは?", '<ul class="{n}">\n  <li>一つ目 &amp; 二つ目</li>\n</ul>'),
    ],
}

THINGS = {
    "en": [
        "apples",
        "rivers",
        "old friends",
        "blue things",
        "tools",
        "songs",
        "planets",
        "sports",
        "small towns",
        "board games",
    ],
    "ja": ["花", "魚", "楽器", "色", "駅名", "飲み物", "動物", "文房具", "和菓子", "季節の言葉"],
}
LISTS = {
    "en": [
        ("List three {t}.", "1. one of the {t}\n2. another one\n3. the last one"),
        ("Use bullets for {t}.", "\n* first of the {t}\n* second\n  * a part of the second\n* third"),
        ("Make it a checklist.", "- [ ] think of {t}\n- [x] write them down\n- [ ] done"),
        ("As a table?", "| no. | {t} |\n|----:|:----|\n| 1 | one |\n| 2 | two |"),
        ("Number them with letters.", "(a) {t}, first\n(b) {t}, second"),
        ("Only one line, please.", "{t}: one; two; three."),
        ("Sort them.", "[1] a\n[2] b\n[3] c\n\nThat is all about {t}."),
    ],
    "ja": [
        ("{t}を三つ挙げてください。", "1. 一つ目の{t}\n2. 二つ目\n3. 三つ目"),
        ("箇条書きで{t}をお願いします。", "・{t}その一\n・{t}その二\n ・その中の一つ\n・{t}その三"),
        ("番号は丸で。", "①{t}\n②ほかの{t}\n③最後の{t}"),
        ("表にしてください。", "| 番号 | {t} |\n|---|---|\n| 一 | 甲 |\n| 二 | 乙 |"),
        ("一行で。", "{t}は、甲、乙、丙です。"),
        ("かっこで。", "(1){t}(2)ほかの{t}"),
    ],
}

SCRIPTS = [
    ("你好,{k}加一等于多少?", "等于{m}。"), ("안녕하세요, {k} 더하기 1은?", "{m}입니다."), ("مرحبا، ما هو {k} زائد واحد؟", "إنه {m}."),
    ("नमस्ते, {k} और एक कितना होता है?", "{m} होता है।"), ("Привет! Сколько будет {k} плюс один?", "Будет {m}."),
    ("สวัสดี {k} บวกหนึ่งเท่ากับเท่าไร", "เท่ากับ {m}"), ("שלום, כמה זה {k} ועוד אחד?", "זה {m}."), ("Γεια σου, πόσο κάνει {k} και ένα;", "Κάνει {m}."),
    ("Xin chào, {k} cộng một bằng mấy?", "Bằng {m}."), ("Merhaba, {k} artı bir kaç eder?", "{m} eder. İyi günler!"), ("Größe {k}, bitte?", "Übrigens: {m} Stück, schöne Grüße."),
]  # fmt: skip

# What `clean_up_tokenization_spaces` would rewrite: a space before a mark or a contraction.
CLEANUP = [
    ("Is this right : x != {k} ?", "Yes , x != {k} is right ."), ("Say it ' s fine .", "It 's fine , is n't it ?"),
    ("I do n't know {k} !", "You 're not alone , we 've all been there ."), ("Quote ' {k} ' .", "' {k} ' , quoted ."),
    ("a , b . c ! d ?", "{k} . {k} , {k} !"), ("I 'm here .", "I 'm glad you 're here ."), ("f (x) ; g [ {k} ] .", "g [ {k} ] . Done !"),
]  # fmt: skip

EMPTY = [
    ("", "Hello! Did you want to ask something?"),
    ("", "何かお困りですか?"),
    ("Hello?", ""),
    (" ", "..."),
    ("\n", "\n"),
    ("", ""),
    ("もしもし", ""),
    ("…", " "),
]

STORY = {
    "en": [
        "On day {i} the caravan reached a village where {n} wells stood in a row, and nobody drank from the last one.",
        "The letter, number {i}, said only this: bring {n} lamps, a rope, and someone who does not sleep.",
        "She counted the steps again, {n} up and {i} down, and found that the tower had grown in the night.",
        "“If the map is right,” he said, “then page {i} is wrong, and we have walked {n} miles for nothing.”",
        "Rain fell for {n} hours; by evening the road was a river, and chapter {i} had to wait.",
        "In the market they sold {n} kinds of salt, old clocks (stopped at {i}:05), and a parrot that knew one word.",
    ],
    "ja": [
        "{i}日目、隊商は井戸が{n}つ並ぶ村に着いたが、最後の井戸の水だけは誰も飲まなかった。",
        "{i}番目の手紙には、ランプを{n}個と縄を一本、それから眠らない人を連れてくるようにと書いてあった。",
        "彼女はもう一度階段を数えた。上りは{n}段、下りは{i}段。塔は夜のあいだに伸びていた。",
        "「地図が正しければ」と彼は言った。「{i}頁は間違いだ。私たちは{n}里も無駄に歩いたことになる。」",
        "雨は{n}時間降り続き、夕方には道が川になり、第{i}章は翌日に延びた。",
    ],
}
