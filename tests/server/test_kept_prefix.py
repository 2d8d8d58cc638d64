"""What an engine kept is told with the answer, also by one that finds it out only when it begins."""

from __future__ import annotations

import time
from typing import Any

from chatlab import ChatStream
from chatlab.engines.engine import PrefixUse
from chatlab.prompts.formats.vicuna import ChatPromptVicuna
from chatlab.testing import ScriptedEngine
from tests.server.live import ask, events_of, served


class SlowToKnow(ScriptedEngine):
    """It looks into its caches a moment after it was asked, as a worker of its own does."""

    def _said(self, emitter: Any, *request: Any) -> Any:
        time.sleep(0.1)
        emitter.prefix = PrefixUse(kept_len=10_000, lost_len=0)
        return super()._said(emitter, *request)


def test_every_turn_tells_what_was_kept_of_its_own_session() -> None:
    chat_stream = ChatStream(engine=SlowToKnow("Yes."), chat_prompt_clazz=ChatPromptVicuna)
    with served(chat_stream) as client:
        turns = [events_of(ask(client, headers={"accept": "text/event-stream"}).text) for _ in range(3)]
    begun = [next(data for name, data, _ in events if name == "begin") for events in turns]
    assert [events[0][0] for events in turns] == ["begin"] * 3
    assert begun[0]["prefix"]["kept_len"] == 0
    for before, after in zip(begun, begun[1:], strict=False):
        assert before["prompt_len"] <= after["prefix"]["kept_len"] < after["prompt_len"]
