"""Text of a user or a model becomes visible text: never an element, an attribute, or a command to a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import render
from chatlab.echo.trace import trace_echo
from chatlab.embedded import tokenizer_path
from chatlab.render import Part
from chatlab.tokenizers.load import load_tokenizer
from tests.support.page import OURS, Seen, seen

TAGS = [
    "script",
    "img",
    "svg",
    "iframe",
    "style",
    "a",
    "math",
    "body",
    "object",
    "form",
    "base",
    "meta",
    "pre",
    "del",
    "ins",
]
HANDLERS = [
    "onerror=alert(1)",
    "onload='alert(1)'",
    'onclick="alert(1)"',
    "href=javascript:alert(1)",
    "src=data:text/html,x",
    "style=x:y",
]
BREAKS = [
    "",
    "'>",
    '">',
    "</pre>",
    "</script>",
    "</title>",
    "</style>",
    "-->",
    "<!--",
    "]]>",
    "&lt;",
    "&#60;",
    "\x00",
    "\u202e",
]
TEMPLATES = [
    "javascript:alert(1)", "jav\tascript:alert(1)", "data:text/html;base64,PHNjcmlwdD4=", "' autofocus onfocus=alert(1) x='",
    '" autofocus onfocus=alert(1) x="', "` onmouseover=alert(1) `", "${alert(1)}", "{{7*7}}", "<%= 7*7 %>", "<?php echo 1 ?>",
    "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>&y;", "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    "<scr\x00ipt>alert(1)</scr\x00ipt>", "<<script>alert(1)//<</script>", "<img src=x onerror=alert(1)//", "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x>", "<a href='\x01javascript:alert(1)'>x</a>", "\uff1cscript\uff1ealert(1)",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>", "<details open ontoggle=alert(1)>", "<plaintext>", "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
]  # fmt: skip
PAYLOADS = [
    f"{brk}<{tag} {handler}>x</{tag}>" for (tag, handler), brk in zip(product(TAGS, HANDLERS), BREAKS * 9, strict=False)
]
PAYLOADS += [f"{brk}{text}" for text, brk in product(TEMPLATES, BREAKS[:5])]


def of_ours(page: str, elements: list[str]) -> Seen:
    """Parse it, and hold it to exactly these elements and to our attributes."""
    parser = seen(page)
    assert parser.elements == elements
    assert all(name in OURS[tag] for tag, name, _ in parser.attributes)
    assert parser.other == []
    return parser


def test_there_are_two_hundred_different_payloads() -> None:
    assert len(set(PAYLOADS)) >= 200


RENDERERS: list[tuple[Callable[[str], str], list[str]]] = [
    (lambda x: render.diff_html([Part("same", x), Part("del", x, x), Part("ins", x, x)]), ["pre", "del", "ins"]),
    (lambda x: render.diff_html([Part("same", x * 9)], context_len=7), ["pre"]),
    (lambda x: render.table_html([x], [[x]], x), ["table", "caption", "thead", "tr", "th", "tbody", "tr", "td"]),
    (lambda x: render.paragraph_html(x), ["p"]),
    (lambda x: render.heading_html(x, 2), ["h2"]),
    (lambda x: render.image_html(x, x), ["figure", "img", "figcaption"]),
    (lambda x: render.page_html(x, ""), ["html", "head", "meta", "meta", "meta", "title", "style", "body", "main"]),
]


@pytest.mark.parametrize(("renderer", "elements"), RENDERERS)
def test_no_payload_becomes_an_element_or_an_attribute(renderer: Callable[[str], str], elements: list[str]) -> None:
    for payload in PAYLOADS:
        of_ours(renderer(payload), elements)


def test_a_payload_is_shown_and_not_swallowed() -> None:
    for payload in PAYLOADS:
        assert "".join(seen(render.paragraph_html(payload)).texts) == render.readable(payload)


@given(
    text=st.text(
        st.sampled_from(list("<>&\"'=/ ab!-\x00\x1b\u202e\ud800\u2028`")) | st.characters(), min_size=1, max_size=30
    )
)
def test_no_text_at_all_becomes_an_element_or_an_attribute(text: str) -> None:
    for renderer, elements in RENDERERS:
        of_ours(renderer(text), elements)


def test_a_trace_of_each_payload_is_safe_whole() -> None:
    tokenizer = load_tokenizer(tokenizer_path("llama2-style/legacy"))
    allowed = {"p", "pre", "del", "ins", "table", "thead", "tbody", "tr", "th", "td"}
    for payload in PAYLOADS[::4]:
        parser = seen(trace_echo(tokenizer, f"<s>[INST] {payload} </s><s>\u2581{payload}").body())
        assert set(parser.elements) <= allowed
        assert all(name in OURS[tag] for tag, name, _ in parser.attributes)


def test_the_style_and_the_script_of_a_page_are_its_own() -> None:
    parser = seen(render.page_html("</style><script>alert(1)</script>", render.paragraph_html("</style><script>")))
    assert "script" not in parser.elements
    assert parser.elements.count("style") == 1


def test_a_page_may_load_nothing() -> None:
    parser = seen(render.page_html("title", "<p>body</p>"))
    (policy,) = [value for tag, name, value in parser.attributes if tag == "meta" and value.startswith("default-src")]
    assert policy.split("; ") == ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    assert [v for _, n, v in parser.attributes if n in ("src", "href")] == []
    assert render.page_html("t", "").index("Content-Security-Policy") < render.page_html("t", "").index("<style>")


# -- what does not show --------------------------------------------------------------------------------------

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])).replace("\n", "").replace("\t", "")
INVISIBLE = "\u00ad\u200b\u2028\u2029\u2060\ufeff\U000e0041\ud800"


def everywhere(text: str) -> Iterator[str]:
    yield render.visible(text)
    yield render.readable(text)
    for kind in ("same", "del", "ins"):
        yield render.diff_text([Part(kind, text)])
        yield "".join(seen(render.diff_html([Part(kind, text, text)])).texts)
    for page in (render.paragraph_html(text), render.table_html([text], [[text]], text), render.heading_html(text, 2)):
        yield "".join(seen(page).texts)


@pytest.mark.parametrize("character", BIDI + CONTROLS + INVISIBLE, ids=ascii)
def test_what_could_disturb_a_page_or_a_terminal_is_shown_as_a_sign(character: str) -> None:
    for shown in everywhere(f"a{character}b"):
        assert character not in shown
        assert shown.replace("a", "").replace("b", "").strip("{}[]+-"), "something stands for it"


def test_a_terminal_is_told_nothing_by_a_prompt() -> None:
    shown = render.diff_text([Part("same", "\x1b]0;owned\x07\x1b[2J\r"), Part("ins", "\x1b[31m")])
    assert shown == "\\x1b]0;owned\\x07\\x1b[2J\u240d{+\\x1b[31m+}"


def test_every_sign_is_its_own() -> None:
    characters = BIDI + CONTROLS + INVISIBLE + " \n\t\u00a0\u3000\u200d"
    assert len({render.visible(c) for c in characters}) == len(set(characters))


def test_plain_text_reads_as_it_is() -> None:
    for text in (
        "caf\u00e9 \u65e5\u672c\u3000x",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "a\n\tb",
        "\u0645\u06cc\u200c\u062e",
    ):
        assert render.readable(text) == text
        assert render.diff_text([Part("same", text)]) == text


def test_an_edit_shows_its_blanks_and_shared_text_does_not() -> None:
    parts = [Part("same", "a b"), Part("del", " \n", "why"), Part("ins", "\u3000\t")]
    assert render.diff_text(parts) == "a b[-\u00b7\u23ce\n-]{+\\u3000\u21e5+}"
    assert render.diff_html(parts) == '<pre>a b<del title="why">\u00b7\u23ce\n</del><ins>\\u3000\u21e5</ins></pre>'


def test_text_and_html_tell_the_same_diff() -> None:
    parts = [Part("same", "x" * 50), Part("del", "<s>"), Part("ins", "&"), Part("same", "y")]
    marked = render.diff_html(parts, 5).replace("<del>", "[-").replace("</del>", "-]")
    marked = marked.replace("<ins>", "{+").replace("</ins>", "+}")
    assert "".join(seen(marked).texts) == render.diff_text(parts, 5)


def test_long_shared_runs_are_cut_to_their_ends() -> None:
    assert render.diff_text([Part("same", "abcdefgh")], context_len=2) == "ab\u2026gh"
    assert render.diff_text([Part("same", "abcd")], context_len=2) == "abcd"
    assert render.diff_text([Part("del", "abcdefgh")], context_len=2) == "[-abcdefgh-]"


def test_nothing_is_an_empty_diff() -> None:
    assert render.diff_text([]) == ""
    assert render.diff_html([]) == "<pre></pre>"
    assert render.table_html([], []) == "<table><thead><tr></tr></thead><tbody></tbody></table>"
