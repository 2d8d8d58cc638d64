"""Token ids to text, one delta at a time, without ever showing the prompt or rewriting what was shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby

from chatlab.errors import DecodeError
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

REPLACEMENT_CHARACTER = "\ufffd"
SEED_LEN = 6
"""Ids of the window at most: enough context for every decoder measured."""
TAIL_LEN = 2 * SEED_LEN
"""Blank ids kept behind the window at most, where they show something: a decoder may owe the blanks at its end."""
HELD_CAP = 8
"""Ids held for one character; it has at most 4 bytes, so when 8 ids completed none, the first begins none."""
UNFINISHED_LEN = 3
"""Ids of a character that is not whole, at most: it has 3 of its bytes, and each of them may be an id."""
SEED_LOOK = 24
"""How many visible prompt ids are looked through for a window, so that a long prompt costs no more than a short one."""

_Window = tuple[list[int], str, int]
"""Ids, the text they show, and how many of them come before the blank ones."""


class StreamingDetokenizer:
    r"""Turn token ids into text deltas through any ``decode`` callable.

    One id is often less than a character, and its text depends on the ids before it: decoded alone, ``▁world``
    loses its space. So a small window is decoded twice, without and with the new ids, and the difference is the
    delta (two offsets, as in TGI and vLLM). The window starts with the last prompt ids, so the first delta has
    the context it needs, and the prompt itself is never part of a delta.

    The window always shows a visible, whole character: some decoders strip all space at their start, and some turn
    a run of byte tokens with one bad byte into U+FFFD altogether, which would cost the good bytes beside it. Blank
    ids stay behind it until something visible follows: a decoder that strips its end shows them only then.

    An id may end inside a character and hold whole ones before it: those come at once, and the id stays held for the
    rest. So a prompt that ends inside such an id keeps its own characters.

    A text that ends in U+FFFD is not whole yet, unless the bytes of its ids spell U+FFFD: the ``decode`` of
    ``Tokenizer.decoder()`` tells them. With a bare callable, a U+FFFD that the model wrote may come out as several.

    **Law L2.** Joined deltas plus ``flush()`` equal the text of the output ids after the prompt: byte-exact for
    valid UTF-8, for any split of prompt and output and any number of ids a ``put``. Of invalid UTF-8 every valid
    character survives; the number of U+FFFD between them is not promised. Emitted text is never rewritten. The
    cost of an id does not grow with the length of the output, save in a run of ids that show nothing at all.

    >>> words = {1: " Hello", 2: " wor", 3: "ld", 4: "!"}
    >>> decode = lambda ids: "".join(words[i] for i in ids).removeprefix(" ")  # drops the first space, as Llama does
    >>> detokenizer = StreamingDetokenizer(decode, prompt_ids=[1])
    >>> [detokenizer.put([i]) for i in (2, 3, 4)], detokenizer.flush()
    ([' wor', 'ld', '!'], '')
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str] | Tokenizer,
        prompt_ids: Sequence[int] = (),
        special_ids: Collection[int] | None = None,
    ) -> None:
        """Seed the window.

        Args:
            decode: ids to text, best from ``Tokenizer.decoder()``; called on windows of at most
                ``SEED_LEN + TAIL_LEN + 2 * HELD_CAP`` ids plus those of one ``put``, and of the prompt's last blank
                ones. Or a tokenizer, whose ``decoder()`` is meant.
            prompt_ids: the ids the model was given; only the last few visible ones are read.
            special_ids: ids that never become text, dropped before ``decode`` so that they cost nothing; left out,
                those of the tokenizer, where one is given.

        Raises:
            TokenizerLoadError: ``decode`` is neither a function nor a tokenizer.
        """
        if hasattr(decode, "decode") or not callable(decode):
            tokenizer = as_tokenizer(decode)
            special_ids = tokenizer.special_ids if special_ids is None else special_ids
            decode = tokenizer.decoder()
        self._decode = decode
        self._token_bytes: Callable[[int], bytes | None] = getattr(decode, "token_bytes", _unknown)
        self._special_ids = frozenset(special_ids or ())
        window = self._last(prompt_ids, SEED_LEN)
        shown = self._shown(window)
        if self._anchors(window, shown):  # nearly every prompt: it ends in text, and with a whole character
            self._seed_window, self._seed_held = (window, shown, len(window)), list[int]()
        else:
            whole, self._seed_held = self._split_unfinished(self._last(prompt_ids, SEED_LOOK))
            self._seed_window = self._seed(whole)
        self.clear()

    def clear(self) -> None:
        """Forget the output and start again after the same prompt."""
        self._window_ids, self._window_text, self._anchor_len = self._seed_window
        self._released_ids: list[int] = []
        self._released_text = ""
        self._held_ids: list[int] = []
        self._held_out = ""  # text of the held ids that is out: whole characters before the unfinished one
        self._open = 0  # which of the held ids the unfinished character may begin in
        self._strays = 0
        for token_id in self._seed_held:
            self._step(token_id)
        if self._seed_held:
            self._keep_unfinished()

    @property
    def held_ids(self) -> tuple[int, ...]:
        """Ids whose text is not out yet, because they end inside a character."""
        return tuple(self._held_ids)

    def put(self, token_ids: Iterable[int]) -> str:
        """Take the next ids and return the text they complete, possibly empty."""
        new_ids = self._visible(token_ids)
        if not new_ids:
            return ""
        text = self._text(self._held_ids + new_ids)
        if text is not None and REPLACEMENT_CHARACTER not in text:
            self._held_ids += new_ids
            return self._release(text)
        return self._without_strays("".join(map(self._step, new_ids)))

    def flush(self) -> str:
        """Return what is still held; an unfinished character comes out as U+FFFD."""
        return self._give_up(len(self._held_ids)) if self._held_ids else ""

    def _last(self, prompt_ids: Sequence[int], count: int) -> list[int]:
        """The last visible ids."""
        last = self._visible(prompt_ids[-2 * count :])  # enough, but where special ids crowd the end
        if len(last) < count < len(prompt_ids):
            last = self._visible(prompt_ids)
        return last[-count:]

    def _visible(self, token_ids: Iterable[int]) -> list[int]:
        return [i for i in token_ids if i not in self._special_ids]

    def _text(self, token_ids: list[int]) -> str | None:
        """The text that ids add to the window, or ``None`` if they change what the window shows, or fail so far."""
        if self._released_ids:
            self._move_window()
        try:
            text = self._decode(self._window_ids + token_ids)
        except DecodeError:  # a right Strip fails until there is enough to strip
            return None
        return text[len(self._window_text) :] if text.startswith(self._window_text) else None

    def _step(self, token_id: int) -> str:
        """Take one id, when there are characters that are not whole."""
        self._held_ids.append(token_id)
        text = self._text(self._held_ids)
        if text is not None:
            if not text.endswith(REPLACEMENT_CHARACTER) or self._spells(self._held_ids, text):
                return self._release(text)
            whole = text.rstrip(REPLACEMENT_CHARACTER)
            if len(whole) > len(self._held_out):
                return self._let_out(whole)
        # What stands before a whole character can no longer become one, and would spoil its text.
        for start in range(self._open + 1, len(self._held_ids)):
            text = self._text(self._held_ids[start:])
            if text and REPLACEMENT_CHARACTER not in text:
                stray = self._give_up(start)
                return stray + self._release(self._text(self._held_ids) or "")
        return self._give_up(self._open + 1) if len(self._held_ids) - self._open == HELD_CAP else ""

    def _let_out(self, whole: str) -> str:
        """Show whole characters of held ids; the last of the ids completed one, so the unfinished one begins in it."""
        text, self._held_out = whole[len(self._held_out) :], whole
        if len(self._held_ids) >= 2 * HELD_CAP:  # ids that all end inside a character: the older ones are out
            self._held_ids = self._held_ids[-HELD_CAP:]
            self._window_ids, self._window_text, self._anchor_len = [], "", 0
            self._held_out = self._shown(self._held_ids).rstrip(REPLACEMENT_CHARACTER)
        self._open = len(self._held_ids) - 1
        return text

    def _give_up(self, count: int) -> str:
        """Show the first held ids as they are: they begin no character."""
        stray, self._held_ids = self._held_ids[:count], self._held_ids[count:]
        text, out, self._held_out, self._open = self._text(stray), self._held_out, "", 0
        if text is None:
            return self._decode(stray)
        if text and len(self._window_ids) > self._anchor_len:
            self._drop_tail()  # the blanks it owed are shown
        return text[len(out) :]

    def _release(self, text: str) -> str:
        """Let go of the held ids, whose text is whole; the window moves on to them when it is next needed."""
        self._released_ids, self._released_text, self._held_ids = self._held_ids, text, []
        if self._held_out:
            text, self._held_out, self._open = text[len(self._held_out) :], "", 0
        return text

    def _keep_unfinished(self) -> None:
        """After a prompt, hold no more than a character's beginning: what stands before it is the prompt's."""
        if len(self._held_ids) - self._open > UNFINISHED_LEN:
            self._give_up(len(self._held_ids) - UNFINISHED_LEN)
        self._strays = len(self._text(self._held_ids) or "") - len(self._held_out)

    def _without_strays(self, text: str) -> str:
        """Leave out the U+FFFD of the prompt that a character which began in it did not need."""
        if text and self._strays:
            count = len(text) - len(text.lstrip(REPLACEMENT_CHARACTER))
            text, self._strays = text[count if count < self._strays else 0 :], 0
        return text

    def _move_window(self) -> None:
        released, self._released_ids = self._released_ids, []
        if self._released_text.isspace():
            return self._keep_blank(released)
        last = released[-SEED_LEN:]
        shown = self._shown(last)
        if self._anchors(last, shown):
            self._window_ids, self._window_text, self._anchor_len = last, shown, len(last)
        elif REPLACEMENT_CHARACTER not in shown:
            self._keep_blank(released)
        elif (window := self._anchor_of(last)) is not None:
            self._window_ids, self._window_text, self._anchor_len = window
        elif self._anchor_len:
            self._drop_tail()
        else:
            self._window_ids, self._window_text = last, shown

    def _keep_blank(self, released: list[int]) -> None:
        """Keep ids that show nothing visible behind the window, but not a long run of them."""
        anchor, tail = self._window_ids[: self._anchor_len], self._window_ids[self._anchor_len :] + released
        if len(tail) > TAIL_LEN:
            short = anchor + tail[-SEED_LEN:]
            shown = self._shown(short)
            # Where the last few show a blank, the decoder owes no more than those: the others are out.
            if len(shown) > len(self._shown(anchor)):
                self._window_ids, self._window_text = short, shown
                return
        self._window_ids = anchor + tail
        self._window_text += self._released_text

    def _drop_tail(self) -> None:
        self._window_ids = self._window_ids[: self._anchor_len]
        self._window_text = self._shown(self._window_ids)

    def _anchors(self, token_ids: list[int], text: str) -> bool:
        """Whether a window of these ids, which show ``text``, keeps what follows it as it is."""
        if not text.strip():
            return False
        edges = text[0] + text[-1]
        return REPLACEMENT_CHARACTER not in edges or self._spells(token_ids, text)

    def _shown(self, token_ids: list[int]) -> str:
        """The text of a window; none where the decoder fails on so little."""
        try:
            return self._decode(token_ids) if token_ids else ""
        except DecodeError:
            return ""

    def _spells(self, token_ids: list[int], text: str) -> bool:
        """Whether the bytes of ids spell every U+FFFD of their text, so that none stands for a part of a character."""
        runs = groupby(map(self._token_bytes, token_ids), lambda part: part is None)
        try:
            spelled = "".join(b"".join(part or b"" for part in run).decode() for _, run in runs)
        except UnicodeDecodeError:
            return False
        return spelled.count(REPLACEMENT_CHARACTER) == text.count(REPLACEMENT_CHARACTER)

    def _split_unfinished(self, token_ids: list[int]) -> tuple[list[int], list[int]]:
        """Cut off the shortest tail behind which the text ends with a whole character."""
        for end in range(len(token_ids), 0, -1):
            tails = (token_ids[start:end] for start in range(end - 1, max(-1, end - 1 - HELD_CAP), -1))
            if any(
                not t.endswith(REPLACEMENT_CHARACTER) or self._spells(ids, t)
                for ids in tails
                for t in [self._shown(ids)]
            ):
                return token_ids[:end], token_ids[end:]
        return [], token_ids

    def _seed(self, token_ids: list[int]) -> _Window:
        """The window of a prompt; an empty one where it shows no whole character."""
        shown = self._shown(token_ids)
        blank = ([], "", 0) if REPLACEMENT_CHARACTER in shown else (token_ids, shown, 0)
        return self._anchor_of(token_ids) or blank

    def _anchor_of(self, token_ids: list[int]) -> _Window | None:
        """The last ids that show something to hold on to, and the blank ones behind them."""
        for end in range(len(token_ids), 0, -1):
            for start in range(max(0, end - SEED_LEN), end):
                shown = self._shown(token_ids[start:end])
                if self._anchors(token_ids[start:end], shown):
                    whole = self._shown(token_ids[start:])
                    if REPLACEMENT_CHARACTER in whole.removeprefix(shown):
                        return token_ids[start:end], shown, end - start
                    return token_ids[start:], whole, end - start
        return None


def _unknown(token_id: int) -> None:
    """The bytes of an id for a ``decode`` that does not tell them."""
