"""200 texts that a view must show and never obey: tags, handlers, addresses, broken markup, controls, diff marks."""

from __future__ import annotations

from itertools import product

CALL = "alert('chatlab')"
_HANDLERS = ("onerror", "onload", "onfocus", "ontoggle", "onanimationstart", "onpointerover", "onbegin", "onscroll")
_TAGS = (
    "img src=x", "svg", "body", "iframe", "details open", "video><source", "input autofocus", "marquee", "object data=x",
    "audio src=x", "style", "embed src=x",
)  # fmt: skip
_ADDRESSES = (
    "javascript:", "JaVaScRiPt:", "java\tscript:", " javascript:", "\x01javascript:", "data:text/html,", "vbscript:",
    "&#106;avascript:",
)  # fmt: skip
_HOLDERS = (
    '<a href="{}">x</a>',
    '<form action="{}"><button>x',
    '<iframe src="{}">',
    '<meta http-equiv=refresh content="0;{}">',
)
_BREAKS = (
    "</script><script>{}</script>", "<script>{}</script>", "<script src=http://192.0.2.1/x.js></script>", "</pre><script>{}</script>",
    "</textarea><script>{}</script>", "</title><script>{}</script>", "</style><script>{}</script>", "--><script>{}</script><!--",
    "]]><script>{}</script>", '"><script>{}</script>', "'><img src=x onerror={}>", '" autofocus onfocus="{}" x="', "<scr<script>ipt>{}</scr</script>ipt>",
    "<iframe srcdoc='<script>parent.{}</script>'></iframe>", "<template><script>{}</script></template>", "<math><mi xlink:href='javascript:{}'>x",
    "<svg><script>{}</script></svg>", "<svg><animate onbegin={} attributeName=x dur=1s>", "<svg/onload={}>", "<img src=http://192.0.2.1/p.png>",
    "<link rel=stylesheet href=http://192.0.2.1/x.css>", "<style>*{{background:url(http://192.0.2.1/b)}}</style>", "<base href=http://192.0.2.1/>",
    "<style>@import 'http://192.0.2.1/x.css';</style>", "<div style='position:fixed;inset:0'>over", "<plaintext>", "<xmp><script>{}</script>",
    "<noscript><p title='</noscript><img src=x onerror={}>'>", "&lt;script&gt;{}&lt;/script&gt;", "%3Cscript%3E{}%3C/script%3E", "\\u003cscript\\u003e{}",
    "<![CDATA[<script>{}</script>", "<?xml-stylesheet href='javascript:{}'?>", "{{{{constructor.constructor('{}')()}}}}", "$\\href{{javascript:{}}}{{x}}$",
    "[x](javascript:{})", "![x](http://192.0.2.1/p.png)", "<!--<img src=x onerror={}>-->", "<a name=chatlab id=chatlab>x", "<ins><del></pre></table>",
)  # fmt: skip
_CONTROLS = (
    "\u202e<tpircs>\u202c", "\u2066\u2069\u200f", "a\u200bb\u2060c", "\x1b[31mred\x1b[0m", "\x1b]8;;http://192.0.2.1\x07x\x1b]8;;\x07", "\x1b[2J\x1b[H",
    "\x00\x01\x02", "\x7f\x80\x9b31m", "\r\n\r", "\ufeff\ufffe", "\u2028\u2029", "e\u0301" * 50, "\U000e0041\U000e0042", "👩‍👩‍👧‍👦", "\x08\x08\x08over",
    "[-not-]{+a diff+}", "\u061c\u180e", "<\u0000script>{}</script>", "＜script＞{}＜/script＞", "ﷺ" * 20,
)  # fmt: skip

PAYLOADS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [f"<{tag} {handler}={CALL}>" for tag, handler in product(_TAGS, _HANDLERS)]
        + [holder.format(address + CALL) for holder, address in product(_HOLDERS, _ADDRESSES)]
        + [text.format(CALL) for text in _BREAKS]
        + [text.replace("{}", CALL) for text in _CONTROLS]
        + [f"plain {n} & <b>bold</b> {'<' * n}script>{CALL}</script>" for n in range(1, 21)]
    )
)
"""Every payload once; a test counts them."""
