"""Text from elsewhere, made harmless for each place it goes to: pure functions, no front end, no style sheet.

Whatever comes from a model, a user, a file or a server passes through the escape of its sink here and nowhere else,
so one file holds law L8 for what is shown and written: :func:`readable` for a terminal, :func:`escaped` for HTML,
:func:`md` and :func:`code` for Markdown, :func:`json_text` for JSON, :func:`csv_cell` for a spreadsheet. No text
becomes a file's name at all: a name is checked, or a hash of the text.

Only semantic tags are used: they survive the code host's sanitizer, and a diff reads without colour (``<ins>`` and
``<del>`` in HTML, ``{+ +}`` and ``[- -]`` in text).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple
from unicodedata import category

_VISIBLE = {" ": "\u00b7", "\n": "\u23ce\n", "\r": "\u240d", "\t": "\u21e5", "\u00a0": "\u237d"}
"""Signs for characters that do not show; a newline keeps its break, so that long texts stay readable."""

_HARMLESS = "\n\t\u200c\u200d"
"""Format characters that plain text is full of; the joiners hold emoji and Persian words together."""


_DISTURBING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of control and format characters, lone surrogates, and separators of lines and paragraphs."""


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""How a cell begins that a spreadsheet computes, with the wide forms that some take for the narrow ones."""

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~@&$]|^[-+=]|(?<=^\d)[.)]|(?<=^\d\d)[.)])")
_LINKED = re.compile(
    r"://|\bwww\.|\b(mailto|xmpp|javascript|data|vbscript):|@|#\d|\bgh-\d",
    re.IGNORECASE,
)
"""What a code host makes a link or a mention of: addresses, names after an @, issues."""


Kind = Literal["same", "del", "ins"]


class Part(NamedTuple):
    """A run of a diff: text both sides share, text only the prompt has, text only the echo has."""

    kind: Kind
    text: str
    note: str = ""
    """Shown on hover: the cause and the cure."""


class Chip(NamedTuple):
    """One token: its vocabulary entry, its id, and whether only one side has it."""

    piece: str
    token_id: int
    kind: Kind = "same"


class Chips(NamedTuple):
    """Tokens in a row."""

    chips: tuple[Chip, ...]


RibbonKind = Literal["kept", "same", "other", "lost"]


class RibbonRun(NamedTuple):
    """Equal signs in a row."""

    kind: RibbonKind
    signs: str


def visible(text: str) -> str:
    r"""Return ``text`` with a sign for everything that does not show.

    >>> visible("a b\tc\u202e")
    'a·b⇥c\\u202e'
    """
    return "".join(c if c.isprintable() and c != " " else _sign(c) for c in text)


def readable(text: str) -> str:
    r"""Return ``text`` as it reads, with signs only for what could change how its surroundings read.

    A terminal obeys control characters, and a right-to-left override turns the rest of the line around.

    >>> readable("caf\u00e9 \x1b[31m\u202e")
    'café \\x1b[31m\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(_sign(c) if category(c) in _DISTURBING and c not in _HARMLESS else c for c in text)


def one_line(text: str) -> str:
    r"""Return ``text`` on one line as it reads, with its line ends, tabs and edge spaces visible.

    >>> one_line("<|end|> \n")
    '<|end|>␣↵'
    """
    marked = readable(text.replace("\r", "␍").replace("\n", "↵").replace("\t", "⇥"))
    return re.sub(r"^ +| +$| +(?=↵)", lambda m: "␣" * len(m[0]), marked)


def code(text: str) -> str:
    """Return ``text`` as Markdown's inline code, which ends where it should and cuts no table's cell."""
    if not text:
        return ""
    shown = one_line(text)
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def md(text: str) -> str:
    r"""Return the Markdown that shows ``text`` on one line: no markup, no HTML, no link and no mention.

    A code host makes links of bare addresses, names and numbers, escaped or not, but of none in code.

    >>> md("<b> of https://example.org")
    '\\<b\\> of `https://example.org`'
    """
    return "".join(code(word) if _LINKED.search(word) else _marked(word) for word in re.split("( +)", one_line(text)))


def fenced(text: str, language: str = "") -> str:
    """Return ``text`` with its line breaks as a block of Markdown that ends where it should."""
    shown = readable(text)
    fence = "`" * max(3, _longest_run(shown) + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    r"""Return JSON of the same value that a terminal shows and does not obey: what would steer it stands as ``\u``.

    >>> json_text("caf\u00e9 \x9b31m\u202e")
    '"café \\u009b31m\\u202e"'
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=sort_keys)
    return text if text.isascii() and "\x7f" not in text else "".join(map(_json_sign, text))


def csv_cell(text: str) -> str:
    """Return ``text`` as the cell that a spreadsheet shows and does not compute: a formula gets an apostrophe in front.

    So does a text that begins with an apostrophe: :func:`csv_value` reads every text back as it was.

    >>> csv_cell("=1+1")
    "'=1+1"
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_value(cell: str) -> str:
    """Return the text of which :func:`csv_cell` made this cell."""
    return cell.removeprefix("'")


def diff_text(parts: Iterable[Part], context_len: int | None = None) -> str:
    """Return a diff in one string: ``[-gone-]{+new+}``; long shared runs are cut to ``context_len`` characters a side."""
    marks = {"same": ("", ""), "del": ("[-", "-]"), "ins": ("{+", "+}")}
    out = []
    for kind, text, _ in parts:
        if not text:
            continue
        shown = visible(text) if kind != "same" else readable(_cut(text, context_len))
        out.append(f"{marks[kind][0]}{shown}{marks[kind][1]}")
    return "".join(out)


def diff_html(parts: Iterable[Part], context_len: int | None = None) -> str:
    """Return the same diff as ``<pre>`` with ``<del>`` and ``<ins>``; notes become ``title``."""
    return f"<pre>{_parts_html(short_parts(parts, context_len))}</pre>"


def short_parts(parts: Iterable[Part], context_len: int | None, *, all_kinds: bool = False) -> list[Part]:
    """Return a diff whose long shared runs, or all its long runs, keep ``context_len`` characters a side."""
    return [
        part._replace(text=_cut(part.text, context_len)) if all_kinds or part.kind == "same" else part for part in parts
    ]


def escaped(text: object) -> str:
    """Return the HTML that shows ``text`` and does nothing else, in an element or a quoted attribute."""
    return html.escape(readable(str(text)))


def table_html(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a plain escaped table; a cell may be a list of :class:`Part`, or :class:`Chips`."""
    head = "".join(f'<th scope="col">{escaped(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def paragraph_html(text: str) -> str:
    """Return one escaped paragraph."""
    return f"<p>{escaped(text)}</p>"


def heading_html(text: str, level: int) -> str:
    """Return one escaped heading."""
    return f"<h{level}>{escaped(text)}</h{level}>"


def quote_html(body: str) -> str:
    """Return a part that is set off from what stands around it; ``body`` must be escaped already."""
    return f"<blockquote>{body}</blockquote>"


def bar_html(done: int, total: int) -> str:
    """Return a bar; the line beside it says the same to those who do not see it."""
    return f'<progress value="{escaped(done)}" max="{escaped(total)}" aria-hidden="true"></progress>'


def image_html(source: str, alt: str) -> str:
    """Return an image with its caption; ``source`` is a data URL or a path."""
    words = escaped(alt)
    return f'<figure><img src="{escaped(source)}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def text_html(text: str) -> str:
    """Return a text with its line breaks, in its own direction."""
    return f'<pre dir="auto">{escaped(text)}</pre>'


def list_html(lines: Iterable[str]) -> str:
    """Return an escaped list."""
    items_html = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f"<ul>{items_html}</ul>"


def verdict_html(word: str, sentence: str) -> str:
    """Return a judgement: the word that counts, and what it means."""
    return f"<p><strong>{escaped(word)}</strong> {escaped(sentence)}</p>"


def details_html(summary: str, body: str, *, is_open: bool = False) -> str:
    """Return a part that opens on a click, or stands open; ``body`` must be escaped already."""
    tag = "details open" if is_open else "details"
    return f"<{tag}><summary>{escaped(summary)}</summary>{body}</details>"


def ribbon_html(line: str, runs: Iterable[RibbonRun], body: str) -> str:
    """Return a row of signs below its line, which opens on a click or a key; ``body`` must be escaped already.

    A screen reader is told the line, and spared the signs.
    """
    signs_html = "".join(f"{_RIBBON[run.kind][0]}{escaped(run.signs)}{_RIBBON[run.kind][1]}" for run in runs)
    return f'<details><summary>{escaped(line)} <code aria-hidden="true">{signs_html}</code></summary>{body}</details>'


_RIBBON: dict[RibbonKind, tuple[str, str]] = {
    "kept": ("", ""),
    "same": ("<mark>", "</mark>"),
    "other": ("<del><strong>", "</strong></del>"),
    "lost": ("<del>", "</del>"),
}


def byline_html(role: str, why: str) -> str:
    """Return who speaks, and why the message ended."""
    return f"<p><strong>{escaped(role)}</strong> <em>{escaped(why)}</em></p>"


PAGE_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { background: Canvas; color: CanvasText; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } caption { text-align: left; font-weight: bold; }
th, td { border: 1px solid #8888; padding: .25rem .6rem; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; white-space: pre-wrap; overflow-wrap: anywhere; min-width: 2.5em; } td code { border: 1px solid #8888; border-radius: 3px; padding: 0 2px; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
ins { text-decoration: underline; background: #0072b233; } del { background: #d55e0033; } img { max-width: 100%; }
"""


def page_html(title: str, body: str, style: str = "") -> str:
    """Return a whole page that needs nothing else and may load nothing else; ``body`` must be escaped already."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escaped(title)}</title><style>{PAGE_STYLE}{style}</style></head><body><main class="chatlab">{body}</main></body></html>\n'
    )


def _cell_html(cell: object) -> str:
    if isinstance(cell, Chips):
        return " ".join(map(_chip_html, cell.chips))
    if isinstance(cell, list):
        return _parts_html(cell)
    return escaped(str(cell))


def _parts_html(parts: Iterable[Part]) -> str:
    out = []
    for kind, text, note in parts:
        if kind == "same":
            out.append(escaped(text))
        else:
            title = f' title="{escaped(note)}"' if note else ""
            out.append(f"<{kind}{title}>{escaped(visible(text))}</{kind}>")
    return "".join(out)


def _chip_html(chip: Chip) -> str:
    code = f"<code>{escaped(visible(chip.piece))}</code><sub>{chip.token_id}</sub>"
    return code if chip.kind == "same" else f"<{chip.kind}>{code}</{chip.kind}>"


def _cut(text: str, context_len: int | None) -> str:
    if context_len is None or len(text) <= 2 * context_len:
        return text
    return f"{text[:context_len]}\u2026{text[-context_len:]}"


def _marked(word: str) -> str:
    return _MARKUP.sub(r"\\\1", word)


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _json_sign(character: str) -> str:
    if character == "\n" or category(character) not in _DISTURBING or character in _HARMLESS:
        return character
    return json.dumps(character)[1:-1] if character > "\x7f" else f"\\u{ord(character):04x}"


def _sign(character: str) -> str:
    return _VISIBLE.get(character) or ascii(character)[1:-1]
