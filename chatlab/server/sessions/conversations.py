"""What each session's calls read and said, in ids, so that the next one goes on from there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from chatlab.streaming.conversation.conversation import Conversation


@dataclass
class SessionConversations:
    """The conversations of the sessions that were heard last; one that is pushed out is read anew, and no worse."""

    cap: int = 1000
    _by_key: OrderedDict[Hashable, Conversation] = field(default_factory=OrderedDict)

    def of(self, key: Hashable, begin: Callable[[], Conversation]) -> Conversation:
        """The conversation of a session, or a new one."""
        found = self._by_key[key] if key in self._by_key else self._by_key.setdefault(key, begin())
        self._by_key.move_to_end(key)
        while len(self._by_key) > self.cap:
            self._by_key.popitem(last=False)
        return found

    def forget(self, key: Hashable) -> None:
        """Forget what a session said."""
        self._by_key.pop(key, None)
