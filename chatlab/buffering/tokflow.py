"""Replace search strings in text that arrives in fragments, with TokFlow's documented interface."""

from __future__ import annotations

from chatlab.buffering.fragment_buffer import FragmentBuffer
from chatlab.buffering.scanner import Replacements, Scanner
from chatlab.buffering.text_modes import Options, TextModes


class TokFlow(FragmentBuffer):
    r"""Replace search strings in text that arrives in fragments.

    A search string may be cut across fragments, so its possible beginnings are held back until a later fragment
    decides. Law: however the text is cut, and in all four modes, the text given out is the leftmost-longest
    replacement of the whole text (for one rule: ``str.replace``); replaced text is never scanned again; only the
    longest suffix that could still begin a search string is held.

    ``opts`` are ``{"in_type": …, "out_type": …}``: ``"spot"`` (default) puts or gets only the new piece,
    ``"full"`` the whole text so far. The first put of a text fixes them, later calls may leave them out.
    In spot modes memory does not grow with the text.

    >>> flow = TokFlow([("<NL>", "\n")])
    >>> [flow.put(s) for s in ["He", "llo<", "N", "L>you <3"]], flow.flush()
    (['He', 'llo', '', '\nyou <3'], '')
    >>> list(flow.stream(["one<N", "L>two", "<"]))
    ['one', '\ntwo', '<']

    Args:
        replacements: pairs of search string and target, or a mapping.

    Raises:
        BufferingError: an empty search string, one search string with two targets, or what is no pair of ``str``.
    """

    def __init__(self, replacements: Replacements) -> None:
        super().__init__(Scanner(replacements), TextModes())

    def put(self, text: str, opts: Options | None = None) -> str:
        """Take a fragment (``in_type`` "full": the whole text so far) and give what is certain.

        Raises:
            FullTextMismatch: a full input does not extend the one before it; the state is as before.
            BufferingError: unknown options, or other modes than this text began with.
        """
        if self._plain and opts is None:
            return self._scanner.put(text)
        return self._put(text, opts)
