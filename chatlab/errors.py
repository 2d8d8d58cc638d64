"""Every error chatlab raises on purpose.

::

    ChatlabError
    ├── PromptError            a prompt class was used against its format          (also ValueError)
    │   ├── MessageTypeError   a message is not a str                              (also TypeError)
    │   ├── RoleOrderError     a message stands where the format has no place for it
    │   ├── NoPlaceError       a message or dialogue holds what the prompt class has no place for
    │   ├── UnknownFormat      no prompt format has that name                      (also KeyError)
    │   ├── ControlTokenError  messages cannot be told from the format, or encoded without control tokens
    │   └── TemplateError      a chat template is missing, broken, or refuses the messages
    │       ├── TemplateLimitError   an untrusted template took too much time, memory or output
    │       └── TemplateSyntaxError  it is not Jinja: no messages could make it render
    ├── CountedError           what many dialogues may be left out for: NoPlaceError and
    │   └── DialogueError      a line or object is not a dialogue, or cannot be used so (also ValueError)
    ├── CutError               a way of cutting the echo is unknown, fails or gives no reply (also ValueError)
    ├── BufferingError         a scanner got patterns, options or text it cannot use (also ValueError)
    │   ├── FragmentTypeError  a fragment is not a str                             (also TypeError)
    │   └── FullTextMismatch   a "full" input does not extend the former one
    ├── TokenizerLoadError     a folder, file or hub id did not become a tokenizer
    │   ├── SourceNotFound     nothing is there                                    (also FileNotFoundError)
    │   ├── RevisionError      the revision is absent, short or malformed          (also ValueError)
    │   ├── OfflineError       it lies on the hub, and the hub cannot be reached
    │   └── TokenizerLimitError  files from elsewhere took too much time or memory, or ended the process that read them
    ├── EmbeddedDataError      a file that travels with chatlab is not there       (also FileNotFoundError)
    ├── EncodeError            text that no tokenizer can take, such as a lone surrogate (also ValueError)
    ├── DecodeError            ids that the tokenizer's own decoder fails on         (also ValueError)
    ├── TokenIdError           an id outside the vocabulary                        (also ValueError)
    ├── ModelLoadError         a folder or hub id did not become a model
    ├── EngineError            generation failed or was asked for the impossible
    │   ├── SamplingError      a sampling parameter is out of its bounds           (also ValueError)
    │   ├── ContextLengthError the prompt leaves no room in the context            (also ValueError)
    │   ├── EngineClosed       the engine was closed and takes no more requests
    │   ├── GenerationError    the model, a processor or the decoder raised; ``__cause__`` is what it raised
    │   └── RemoteError        a server refused, failed or broke off
    │       ├── RemoteBusy     it is full (429, 503); ``retry_after`` says for how long
    │       ├── RemoteCut      the stream ended without its mark of an end, so the answer is not whole
    │       └── RemoteLacks    it cannot give what was asked for, such as token ids
    ├── ChatBusy               a reply is streaming: a chat or a view shows one at a time
    ├── ServerError            a request to our own server did not end as it was asked for; ``status`` is HTTP's word
    │   ├── RequestError       the request is wrong; ``field`` names where             (also ValueError)
    │   ├── TooManyRequests    as many run and wait as may; ``place`` and ``retry_after`` say how full it is
    │   ├── SessionBusy        another turn of the same session runs
    │   ├── ServerClosing      it shuts down
    │   └── ServerExtraMissing the libraries of the extra ``server`` are not installed (also ImportError)
    ├── ViewError              a view was given what it cannot show                (also TypeError)
    ├── RevisionCompareError   two revisions could not be compared
    │   ├── VersionInstallError an environment with another library version cannot be made
    │   └── LockError          a lock file is damaged, unsafe, newer, or lacks the alias (also ValueError)
    ├── SweepError             a sweep's spec or task is wrong, or a task failed   (also ValueError)
    ├── PlainDataError         plain data is not what ``to_dict`` wrote           (also ValueError)
    └── OutputError            a result cannot be written where it was asked for   (also OSError)

Each message names the thing that is wrong and the way out.
"""

from __future__ import annotations

import re
from typing import Self, TypeVar

from chatlab.render import readable

E = TypeVar("E", bound=BaseException)


class _Told(Exception):
    """What a terminal shows and does not obey, wherever it is printed: in a traceback, by ``print``, in a log.

    A message quotes a stranger's file, template or server; ``args`` keep it as it came.
    """

    def __str__(self) -> str:
        return readable(super().__str__())


class ChatlabError(_Told):
    """The root of the tree: catch it to catch everything chatlab raises on purpose."""

    @property
    def kind(self) -> str:
        """The message without its numbers: what errors of one reason share, to count them by."""
        return re.sub(r"\b\d+\b", "N", str(self))


class CountedError(ChatlabError):
    """What many dialogues may be left out for, with a kind of its own to count it by."""

    def __init__(self, message: str = "", *, kind: str = "") -> None:
        super().__init__(message)
        self._kind = kind

    @property
    def kind(self) -> str:
        """Why, in words that dialogues of one reason share."""
        return self._kind or super().kind


class ChatlabWarning(_Told, UserWarning):
    """The root of all warnings."""


def harmless(error: E) -> E:
    """Return a library's error, and all that led to it, with messages that no traceback makes a command of.

    For ``raise … from harmless(error)`` where the message may quote what a stranger wrote.
    """
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if not isinstance(found, _Told):
            found.args = tuple(readable(told) if isinstance(told, str) else told for told in found.args)
        found = found.__cause__ or found.__context__
    return error


class PromptError(ChatlabError, ValueError):
    """A prompt class was used against its format."""


class MessageTypeError(PromptError, TypeError):
    """A message is not a ``str``."""


class RoleOrderError(PromptError):
    """A message stands where the prompt format has no place for it."""


class NoPlaceError(CountedError, PromptError):
    """A message or dialogue holds something that a prompt class has no place for, such as a tool call."""


class UnknownFormat(PromptError, KeyError):
    """No prompt format has that name."""

    def __str__(self) -> str:  # KeyError's own would quote the message
        return readable(str(self.args[0]) if self.args else "")


class ControlTokenError(PromptError):
    """The text of a message cannot be told from the format's, or cannot be encoded without a control token."""


class TemplateError(PromptError):
    """A chat template is missing, broken, reaches for what it must not, or refuses the messages."""


class TemplateLimitError(TemplateError):
    """An untrusted chat template took more time, memory or output than it may."""


class TemplateSyntaxError(TemplateError):
    """A chat template is not Jinja, so that no messages could make it render."""


class DialogueError(CountedError, ValueError):
    """A line or object is not a dialogue, or a dialogue cannot be used as it is asked to be."""

    @classmethod
    def at(cls, place: str, error: ChatlabError) -> DialogueError:
        """``error`` told of a place, such as a line of a file or a dialogue; its kind stays."""
        told = str(error)
        return cls(told if told.startswith(place) else f"{place}: {told}", kind=error.kind)


class CutError(ChatlabError, ValueError):
    """A way of cutting the echo is unknown, fails, or gives no reply."""


class BufferingError(ChatlabError, ValueError):
    """A scanner got patterns, options or text it cannot use."""


class ChannelError(ChatlabError, ValueError):
    """The channels of a reply are described in a way that cannot be followed, or a format of them is unknown."""


class ConversationError(ChatlabError, ValueError):
    """The ids of a conversation cannot be gone on with: what stands behind the last reply cannot be told."""


class FragmentTypeError(BufferingError, TypeError):
    """A fragment of text is not a ``str``."""

    def __init__(self, fragment: object) -> None:
        kind = type(fragment).__name__
        way = (
            "decode bytes first, as with codecs.getincrementaldecoder('utf-8')"
            if kind == "bytes"
            else "put str(...) of it"
        )
        super().__init__(f"a fragment of text is a str, not {kind}: {way}")


class FullTextMismatch(BufferingError):
    """A ``full`` input does not extend the input before it; shows where they part."""

    def __init__(self, former: str, text: str) -> None:
        pairs = enumerate(zip(former, text, strict=False))
        self.offset = next((i for i, (old, new) in pairs if old != new), min(len(former), len(text)))
        """The first code point in which the two texts differ."""
        common = former[max(0, self.offset - 20) : self.offset]
        old, new = former[self.offset : self.offset + 20], text[self.offset : self.offset + 20]
        super().__init__(
            f"a full input must extend the one before it, but they part at offset {self.offset}: "
            f"after {common!r} stood {old!r}, now {new!r}; put the whole text so far, or clear() first"
        )


class TokenizerLoadError(ChatlabError):
    """A folder, file or hub id did not become a tokenizer."""


class SourceNotFound(TokenizerLoadError, FileNotFoundError):
    """There is nothing at the given path or hub id."""


class RevisionError(TokenizerLoadError, ValueError):
    """A revision is absent, too short to be a pin, or malformed."""


class OfflineError(TokenizerLoadError):
    """The tokenizer lies on the hub and the hub cannot be reached."""


class TokenizerLimitError(TokenizerLoadError):
    """Files from elsewhere took more time or memory than they may, or ended the process that read them."""


class EmbeddedDataError(ChatlabError, FileNotFoundError):
    """A file that travels with chatlab is not where it was installed."""


class EncodeError(ChatlabError, ValueError):
    """Text that no tokenizer can take, such as a lone surrogate."""


class DecodeError(ChatlabError, ValueError):
    """Token ids that the tokenizer's own decoder cannot turn into text."""


class TokenIdError(ChatlabError, ValueError):
    """A token id outside the vocabulary."""

    @classmethod
    def unknown(cls, tokenizer: str, token_id: object, last: int) -> Self:
        """That a tokenizer of this name has no such id, with the last that it has."""
        if isinstance(token_id, str):
            return cls(
                f"token ids are whole numbers, not the text {token_id!r:.40}: tokenizer.encode(text) gives the ids"
            )
        return cls(f"{tokenizer} has no token id {token_id!r:.40}: its ids end at {last}")


class ModelLoadError(ChatlabError):
    """A folder or hub id did not become a model."""


class EngineError(ChatlabError):
    """Generation failed, or was asked for something the engine cannot do."""


class SamplingError(EngineError, ValueError):
    """A sampling parameter is out of its bounds."""


class ContextLengthError(EngineError, ValueError):
    """The prompt leaves no room for a reply in the context."""


class EngineClosed(EngineError):
    """The engine was closed and takes no more requests."""


class GenerationError(EngineError):
    """The model, a logits processor or the decoder raised; ``__cause__`` is what it raised."""


class RemoteError(EngineError):
    """A server refused a request, failed, or broke off."""

    status: int | None = None
    """The HTTP status of a refusal; ``None`` where it was none."""


class RemoteBusy(RemoteError):
    """A server is full."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which the server wants to be asked again; ``None`` when it did not say."""


class RemoteCut(RemoteError):
    """A server's stream ended without its mark of an end, so the answer is not whole."""


class RemoteLacks(RemoteError):
    """A server cannot give what was asked for."""


class ChatBusy(ChatlabError):
    """A reply is streaming, and a chat or a view shows one at a time."""


class ServerError(ChatlabError):
    """A request to our own server did not end as it was asked for."""

    status = 500
    """The HTTP status that tells it before the answer has begun."""
    code = "internal_server_error"
    """The word by which a program tells it."""


class RequestError(ServerError, ValueError):
    """A request is wrong, or comes from where it must not."""

    def __init__(
        self, message: str, *, field: str | None = None, status: int = 400, code: str = "invalid_request"
    ) -> None:
        super().__init__(message)
        self.field = field
        """What is wrong in the body or the headers, such as ``messages[2].content``."""
        self.status = status
        self.code = code


class TooManyRequests(ServerError):
    """As many requests run and wait as may."""

    status = 429
    code = "too_many_requests"

    def __init__(self, message: str, *, place: int, retry_after: float) -> None:
        super().__init__(message)
        self.place = place
        """The place in the queue that it would have been given; 1 is the next to run."""
        self.retry_after = retry_after
        """Seconds after which to ask again, by how long the last answers took."""


class SessionBusy(ServerError):
    """Another turn of the same session runs, and a session has one at a time."""

    status = 409
    code = "session_busy"


class ServerClosing(ServerError):
    """The server shuts down and takes no more requests."""

    status = 503
    code = "shutdown"


class ServerExtraMissing(ServerError, ImportError):
    """The libraries of the extra ``server`` are not installed."""


class ViewError(ChatlabError, TypeError):
    """A view was given what it cannot show."""


class RevisionCompareError(ChatlabError):
    """Two revisions could not be compared."""


class VersionInstallError(RevisionCompareError):
    """An environment with another library version cannot be made or run."""


class LockError(RevisionCompareError, ValueError):
    """A lock file is damaged, unsafe, of a newer schema, or lacks the alias."""


class SweepError(ChatlabError, ValueError):
    """A sweep's spec or task is wrong, or one of its tasks failed where none may."""


class PlainDataError(ChatlabError, ValueError):
    """Plain data is not what ``to_dict`` wrote: a field is missing, unknown or of another type."""


class OutputError(ChatlabError, OSError):
    """A result cannot be written where it was asked for."""
