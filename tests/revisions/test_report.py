"""A report in three forms: the same facts, and nothing of the compared files is ever markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from chatlab.embedded import tokenizer_path
from chatlab.render import code, md, one_line
from chatlab.revisions.compare import compare_revisions
from chatlab.revisions.sections import sections
from tests.revisions.rendered import rendered
from tests.support.injections import copy_of, edit, setting

EVIL = "<img src=x onerror=alert(1)>[bold]`|</td>\x1b[31m\u202e"


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A template, a token and a setting that try to become markup."""
    folder = copy_of("phi3-style/before", tmp_path_factory.mktemp("evil") / "t")
    setting("tokenizer_config.json", "chat_template", to=lambda t: EVIL + t)(folder)
    setting("tokenizer_config.json", "padding_side", to="left")(folder)
    edit("tokenizer.json", lambda v: v["added_tokens"].append({**v["added_tokens"][-1], "id": 5000, "content": EVIL}))(
        folder
    )
    return compare_revisions(tokenizer_path("phi3-style/before"), folder, prompts=[EVIL])


@pytest.fixture(scope="module")
def plain():
    return compare_revisions(tokenizer_path("phi3-style/before"), tokenizer_path("phi3-style/after"))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_html_holds_only_our_own_tags(evil):
    tags = Tags()
    tags.feed(evil.body())
    assert tags.seen <= {
        "h3",
        "p",
        "strong",
        "details",
        "summary",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
    }
    assert tags.attributes <= {"open", "scope", "dir"}
    assert "onerror=alert(1)&gt;" in evil._repr_html_()


def test_the_title_of_a_commit_is_no_markup(plain):
    named = {"revision": "a" * 40, "title": EVIL, "date": "2024-05-02T10:00:00+02:00"}
    c = replace(plain, before=replace(plain.before, **named))
    tags = Tags()
    tags.feed(c._repr_html_())
    assert "img" not in tags.seen
    assert f"aaaaaaaa, 2024-05-02, {md(EVIL)}" in c.to_markdown()
    assert "aaaaaaaa, 2024-05-02, <img src=x onerror=alert(1)>[bold]" in rendered(c)
    assert "2024" not in plain.to_markdown()


def test_the_terminal_gets_no_foreign_control_sequence_and_no_markup(evil):
    text = rendered(evil)
    assert "\x1b[31m[" not in text.replace("\x1b[31m╭", "")
    assert "\u202e" not in text
    assert "\\x1b[31m" in text
    assert "[bold]" in text


def test_markdown_keeps_its_tables_whole(evil):
    lines = evil.to_markdown().splitlines()
    heads = [n for n, line in enumerate(lines) if re.fullmatch(r"\|(---\|)+", line)]
    assert heads
    for n in heads:
        columns = lines[n].count("|")
        body = n + 1
        while body < len(lines) and lines[body].startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", lines[body])) == columns
            body += 1


def test_all_three_forms_tell_the_same_sections(plain):
    titles = [s.title for s in sections(plain)]
    html, markdown, terminal = plain._repr_html_(), plain.to_markdown(), rendered(plain)
    assert len(titles) >= 7
    for title in titles:
        assert f"### {title}" in markdown
        assert title in html
        assert title in terminal
    for form in (html, markdown, terminal):
        assert "BREAKING" in form


def test_line_ends_are_one_line():
    assert one_line("<|end|> \nx\t") == "<|end|>␣↵x⇥"
    assert one_line("a b") == "a b"
    assert one_line("  a ") == "␣␣a␣"


@pytest.mark.parametrize("text", ["`", "``", "a`b", "`a`", "a|b"])
def test_inline_code_ends_where_it_should(text):
    written = code(text)
    fence = re.match("`+", written)[0]
    inner = written[len(fence) : -len(fence)]
    assert fence not in inner
    assert "|" not in written.replace("\\|", "")


def test_a_sentence_is_no_markdown():
    assert md("a*b_[x](y)<b>|") == "a\\*b\\_\\[x\\](y)\\<b\\>\\|"
