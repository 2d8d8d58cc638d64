"""Characters that a server cut in two: JSON can carry half a surrogate pair, text cannot."""

from __future__ import annotations

from chatlab.errors import RemoteError


class Halves:
    r"""Join the halves of a character that came in two pieces.

    Law: what ``put`` gives, joined, is what the pieces joined in UTF-16 say, and it never holds half a character.

    >>> halves = Halves()
    >>> halves.put("a\ud83d"), halves.put("\ude00")
    ('a', '😀')
    """

    def __init__(self) -> None:
        self._held = ""

    def put(self, text: str) -> str:
        """The text that is whole.

        Raises:
            RemoteError: half a character came without its other half.
        """
        text, self._held = self._held + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise RemoteError(f"the server sent half a character: {ascii(text)[:200]}") from error

    def flush(self) -> None:
        """Say that no more comes.

        Raises:
            RemoteError: half a character is left.
        """
        if self._held:
            raise RemoteError(f"the server sent half a character at the end of the reply: {ascii(self._held)}")
