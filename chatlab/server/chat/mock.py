"""ChatStream's mock responses: phrases without a model, said word by word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatlab.engines.engine import Engine
from chatlab.engines.scripted import MOCK_RESPONSES, CodePointTokenizer, ScriptedEngine
from chatlab.errors import ServerError
from chatlab.prompts.base import AbstractChatPrompt

TYPES = ("round", "long", "echo")

_JAPANESE = {
    "round": (
        "こんにちは!今日はどのようなご用件ですか?",
        "はい、少し考えさせてください。",
        "それは良い質問です。",
        "😀🎉 それでは!",
    ),
    "long": (
        "これはモデルなしの長い回答です。" + "".join(f"第{n}文も順番どおりに一度だけ届きます。" for n in range(1, 41)),
    ),
}
_PIECE = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]|\s*[^\s\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]+|\s+")


def pieces_of(text: str) -> list[str]:
    """A phrase as it is said: English cut at blanks, Japanese a character each.

    >>> pieces_of("Hello you!"), pieces_of("はい ok")
    (['Hello', ' you!'], ['は', 'い', ' ok'])
    """
    return _PIECE.findall(text)


class PhraseTokenizer(CodePointTokenizer):
    """Code points for what is read, and an id a word for what is said; the words are those of its own phrases."""

    name = "phrases"
    vocab_len = 2**31

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._ids: dict[str, int] = {}

    def say(self, text: str) -> list[int]:
        """The ids of a phrase, a word each."""
        return [self._id(piece) for piece in pieces_of(text)]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """What the ids spell."""
        return "".join(map(self.piece, token_ids))

    def piece(self, token_id: int) -> str:
        """A character, or a word of a phrase."""
        first = CodePointTokenizer.vocab_len
        return chr(token_id) if token_id < first else self._pieces[token_id - first]

    def _id(self, piece: str) -> int:
        if len(piece) == 1:
            return ord(piece)
        if piece not in self._ids:
            self._ids[piece] = CodePointTokenizer.vocab_len + len(self._pieces)
            self._pieces.append(piece)
        return self._ids[piece]


def mock_engine(
    mock_params: Mapping[Any, Any] | None, locale: str = "en"
) -> tuple[ScriptedEngine, Callable[[Any], Engine] | None]:
    """The engine of a mock, and for an echo what makes one of each prompt.

    Args:
        mock_params: ``type``: ``"round"`` (the next phrase each time), ``"long"`` or ``"echo"`` (the user's last message);
            the builtin ``type`` is taken as the key ``"type"``, as the article prints it. ``time_per_token_sec`` (0.1) and
            ``initial_wait_sec`` (0).
        locale: ``"en"`` or ``"ja"``.

    Raises:
        ServerError: a value is none of these.
    """
    given = {("type" if key is type else key): value for key, value in (mock_params or {}).items()}
    kind = given.pop("type", "round")
    delays = [given.pop("time_per_token_sec", 0.1), given.pop("initial_wait_sec", 0.0)]
    if given:
        raise ServerError(
            f"mock_params has no {next(iter(given))!r}: it has type, time_per_token_sec, initial_wait_sec"
        )
    if kind not in TYPES:
        raise ServerError(f"no mock response is called {kind!r}: there are {', '.join(TYPES)}")
    if any(type(delay) not in (int, float) or not 0 <= delay < 3600 for delay in delays):
        raise ServerError(f"time_per_token_sec and initial_wait_sec are seconds, 0 or more, not {delays!r}")
    delay, first_delay = map(float, delays)

    def echo(prompt: object) -> Engine:
        said = prompt.get_requester_last_msg() if isinstance(prompt, AbstractChatPrompt) else str(prompt)
        tokenizer = PhraseTokenizer()  # one's own, so that what users say does not pile up
        return ScriptedEngine([tokenizer.say(said or "")], tokenizer, delay=delay, first_delay=first_delay)

    phrases, tokenizer = (_JAPANESE if locale == "ja" else MOCK_RESPONSES).get(kind, ("",)), PhraseTokenizer()
    script = [tokenizer.say(phrase) for phrase in phrases]
    return ScriptedEngine(script, tokenizer, delay=delay, first_delay=first_delay), echo if kind == "echo" else None
