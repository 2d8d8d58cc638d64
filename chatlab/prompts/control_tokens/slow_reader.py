"""The reader of Python tokenizers: they keep no offsets, but split a text at its added tokens before anything else."""

from __future__ import annotations

from typing import Any

from chatlab.errors import ControlTokenError, EncodeError
from chatlab.prompts.control_tokens.reading import CONTROL_SPELLING, EncodedText, Reader, Token


class SlowReader(Reader):
    """A Python tokenizer of transformers: it splits a text at its added tokens, and encodes each part by itself."""

    def __init__(self, slow: Any, *, name: str) -> None:
        self._slow = slow
        self.name = name
        tokens = {token.content: (i, token) for i, token in slow.added_tokens_decoder.items()}
        plain = zip(slow.all_special_tokens, slow.all_special_ids, strict=True)
        self._tokens = {text: (i, None) for text, i in plain if i is not None} | tokens
        self.added = {i: text for text, (i, _) in self._tokens.items() if not text.isspace()}
        flagged = {i for i, token in self._tokens.values() if token is None or token.special}
        spelled = {i for i, text in self.added.items() if CONTROL_SPELLING.fullmatch(text)}
        self.special = frozenset(flagged | spelled).intersection(self.added)
        self.unk_id = slow.unk_token_id

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of ``text``."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(f"{self.name} cannot encode the text: {error}") from error
        return list(self._slow(text, add_special_tokens=add_special_tokens)["input_ids"])

    def read(self, text: str, add_special_tokens: bool = False) -> EncodedText:
        """The ids of ``text``, with those that could speak for the format."""
        bare = self.encode(text)
        found = [Token(i, start, end) for start, end, i in self._parts(text) if i is not None and i in self.added]
        known = self.added.keys() - {self.unk_id}
        if [token.token_id for token in found if token.token_id in known] != [i for i in bare if i in known]:
            raise ControlTokenError(
                f"{self.name} reads other added tokens than those it splits the text at, so control tokens in messages "
                "cannot be told from the format's: load its fast version, or pass allow_control_tokens=True if every "
                "message is trusted"
            )
        return EncodedText(self.encode(text, add_special_tokens=True) if add_special_tokens else bare, found)

    def read_as_text(self, stretch: str, control: frozenset[int], after: int | None) -> list[int]:
        """The ids of ``stretch``, split at no control token; a part does not depend on what stands before it."""
        if self._slow.prepare_for_tokenization(stretch)[0] != stretch:
            raise ControlTokenError(f"{self.name} rewrites a text before it splits it: load its fast version")
        ids: list[int] = []
        for start, end, token_id in self._parts(stretch, control):
            if token_id is not None:
                ids.append(token_id)
            elif end > start:
                ids += self._slow.convert_tokens_to_ids(self._slow._tokenize(stretch[start:end]))
        return ids

    def _parts(self, text: str, unread: frozenset[int] = frozenset()) -> list[tuple[int, int, int | None]]:
        """Start, end and id of each added token, and of the plain text between them; stripped space is the token's."""
        parts: list[tuple[int, int, int | None]] = []
        start = 0
        for part in self._slow.tokens_trie.split(text):
            end = start + len(part)
            token_id, token = self._tokens.get(part, (None, None))
            around = text[max(0, start - 1) : start] + text[end : end + 1]
            if token_id in unread or (token is not None and token.single_word and around.strip(" ")):
                token_id = None
            if token_id is None and parts and parts[-1][2] is None:
                start = parts.pop()[0]
            parts.append((start, end, token_id))
            start = end
        return self._stripped(text, parts)

    def _stripped(self, text: str, parts: list[tuple[int, int, int | None]]) -> list[tuple[int, int, int | None]]:
        for number, (start, end, token_id) in enumerate(parts):
            token = None if token_id is None else self._tokens[text[start:end]][1]
            if token is not None and token.lstrip and number and parts[number - 1][2] is None:
                left, _, _ = parts[number - 1]
                start = left + len(text[left:start].rstrip())
                parts[number - 1] = left, start, None
            if token is not None and token.rstrip and parts[number + 1 :] and parts[number + 1][2] is None:
                right = parts[number + 1][1]
                end = right - len(text[end:right].lstrip())
                parts[number + 1] = end, right, None
            parts[number] = start, end, token_id
        return parts
