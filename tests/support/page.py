"""The elements and attributes of a page, as a parser sees them."""

from __future__ import annotations

from html.parser import HTMLParser

OURS = {
    "pre": set(), "del": {"title"}, "ins": {"title"}, "table": set(), "caption": set(), "thead": set(), "tbody": set(),
    "tr": set(), "th": {"scope"}, "td": set(), "p": set(), "h2": set(), "figure": set(), "img": {"src", "alt"},
    "figcaption": set(), "html": {"lang"}, "head": set(), "meta": {"charset", "http-equiv", "content", "name"},
    "title": set(), "style": set(), "body": set(), "main": {"class"},
}  # fmt: skip


"""Every element we write, with the attributes we give it."""


class Seen(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.other: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    handle_pi = unknown_decl = handle_comment


def seen(page: str) -> Seen:
    parser = Seen()
    parser.feed(page)
    parser.close()
    return parser
