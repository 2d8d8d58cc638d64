"""A conversation that grows in ids: what was seen, what was said, and what the template writes in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import commonprefix
from typing import Any, Literal, Self, cast

from chatlab.errors import ConversationError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.prompts.control_tokens.encode import encode_prompt
from chatlab.prompts.filling import AnyPromptClass, new_prompt
from chatlab.prompts.messages import messages_of
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.prompts.templates.choice import prompt_for
from chatlab.streaming.conversation.bridge import BridgePrompt, encode_bridge, roles_behind
from chatlab.streaming.conversation.closing import Ending, RepliedPrompt, ending_of
from chatlab.streaming.conversation.kept import KeptCall, Lost, Message, ids_of_calls, said_len
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer

OnBreak = Literal["error", "reread"]
Messages = Sequence[Mapping[str, Any]]

ASKED_CAP = 32
"""Prompts that were settled and whose calls have not ended; looking for one that fits settles a few."""

_UNREAD = ("prompt_class", "contents", "next_message_id", "clock")
"""What of a prompt's plain data is no setting; a clock that goes on changes nothing that was read."""


class Conversation:
    """A dialogue with one model whose ids are kept, so that nothing that was said is encoded again.

    **Law.** Each prompt is what the call before saw and said, and a bridge: the text that the template writes between
    that reply and the next opening, encoded alone. So

    - it begins with all ids that were seen and said, but for an end token where the template writes another one there
      (gpt-oss), and for a stop string that the template does not write;
    - an end token that the model said is not doubled, and one that it was cut off before is in the bridge;
    - wherever the template keeps replies as they were said, the text of the ids is what the template writes.

    The bridge is shown to be the same behind other replies, once for each shape of a border (whether it has calls or
    thoughts, and who speaks next). A template of which that cannot be shown is refused, or with
    ``on_break="reread"`` the whole prompt is encoded, and :attr:`lost` tells what that cost and why.

    Who takes messages back, asks again or changes what was said goes on from the last call that still stands.

    >>> from chatlab.testing import ScriptedEngine
    >>> from chatlab import ChatPromptMetaLlamaLlama2Chat, stream
    >>> engine = ScriptedEngine(["Hello!", "Fine."])
    >>> conversation = Conversation(ChatPromptMetaLlamaLlama2Chat(), engine)
    >>> for question in ("Hi", "How are you?"):
    ...     conversation.ask(question)
    ...     reply = stream(conversation, engine).result()
    >>> first, second = engine.prompts
    >>> second[: len(first) + len("Hello!")] == [*first, *map(ord, "Hello!")]
    True
    """

    def __init__(
        self, prompt: AnyPromptClass | AbstractChatPrompt | None, tokenizer: Any, *, on_break: OnBreak = "error"
    ) -> None:
        """Begin a conversation.

        Args:
            prompt: a prompt, with its history or without, which is filled as it goes; a prompt class or the name of a
                format; a chat template; or ``None`` for the tokenizer's own.
            tokenizer: what the ids are of, or an engine that has one.
            on_break: whether a border that cannot be bridged is an error, or is read anew.

        Raises:
            ConversationError: the engine has no tokenizer, or ``on_break`` is none of the two.
            PromptError: ``prompt`` is no such thing.
        """
        if on_break not in ("error", "reread"):
            raise ConversationError(f"on_break must be 'error' or 'reread', not {on_break!r:.80}")
        given = tokenizer.tokenizer if callable(getattr(tokenizer, "submit", None)) else tokenizer
        if given is None:
            raise ConversationError(f"this {type(tokenizer).__name__} has no tokenizer: give the tokenizer instead")
        self.tokenizer: Tokenizer = as_tokenizer(given)
        self.on_break: OnBreak = on_break
        self.prompt: AbstractChatPrompt | Messages = _prompt_of(prompt, self.tokenizer)
        """The history. It may be changed between two calls."""
        self._memory = _Memory()

    def on(self, prompt: AbstractChatPrompt | Messages) -> Self:
        """The same conversation, whose history goes on in another prompt, such as a copy."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, prompt=prompt)
        return twin

    def ask(self, message: str | Mapping[str, Any]) -> None:
        """Add a question, or a message with its role, such as a tool's result.

        Raises:
            NoPlaceError: the prompt has no place for it.
        """
        prompt = cast(AbstractChatPrompt, self.prompt)
        if isinstance(message, str):
            prompt.add_requester_msg(message)
        elif (add := getattr(prompt, "add_message", None)) is not None:
            add(message)
        else:
            raise ConversationError(f"{type(prompt).__name__} takes texts alone: ask(text), or use a chat template")

    @property
    def calls(self) -> tuple[KeptCall, ...]:
        """The calls of the model so far."""
        return tuple(self._memory.calls)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All that was seen and said so far."""
        return tuple(ids_of_calls(self._memory.calls))

    @property
    def lost(self) -> Lost | None:
        """What the last prompt did not keep, and why; ``None`` where it kept all."""
        return self._memory.calls[-1].lost if self._memory.calls else None

    def lost_by(self, prompt_ids: Sequence[int]) -> Lost | None:
        """What a prompt that was just settled does not keep, and why; ``None`` where it keeps all."""
        return self._memory.asked.get(tuple(prompt_ids))

    def next_ids(self, prompt: AbstractChatPrompt, **options: Any) -> list[int]:
        """The ids of the next call.

        Args:
            prompt: the history with its reply opened.
            options: of :func:`chatlab.prompts.control_tokens.encode.encode_prompt`.

        Raises:
            ConversationError: what stands behind the last reply cannot be told.
            ControlTokenError: a message spells a control token and cannot be told from the format.
        """
        before = ids_of_calls(self._memory.calls)
        calls, why = self._memory.standing(prompt)
        layer: Literal["template", "program"] = "program"
        if calls:
            try:
                token_ids = self._bridged(prompt, calls, options)
            except ConversationError as error:
                if self.on_break == "error":
                    raise
                layer, why = "template", str(error)
                token_ids = encode_prompt(self.tokenizer, prompt, **options).token_ids
        else:
            token_ids = encode_prompt(self.tokenizer, prompt, **options).token_ids
        kept_len = len(commonprefix([before, token_ids]))
        lost = (
            Lost(kept_len=kept_len, lost_len=len(before) - kept_len, layer=layer, why=why) if why and before else None
        )
        self._memory.settled(token_ids, lost)
        return token_ids

    def keep(
        self,
        prompt: AbstractChatPrompt,
        prompt_ids: Sequence[int],
        reply_ids: Sequence[int],
        *,
        end_id: int | None = None,
        beyond: str = "",
    ) -> None:
        """Remember a call that has ended.

        Args:
            prompt: the history with the reply in it.
            prompt_ids: what the model saw.
            reply_ids: what it said.
            end_id: the token that ended the reply, its last, where it was an end token.
            beyond: text at its end that the history does not have.
        """
        memory = self._memory
        messages = messages_of(prompt)
        calls, _ = memory.standing(prompt, messages[:-1])
        kept_len = len(commonprefix([ids_of_calls(calls), list(prompt_ids)]))
        call = KeptCall(
            messages=tuple(messages[sum(len(call.messages) for call in calls) :]),
            kept_len=kept_len,
            read_ids=tuple(prompt_ids[kept_len:]),
            reply_ids=tuple(reply_ids),
            end_id=end_id,
            beyond=beyond,
            lost=memory.asked.get(tuple(prompt_ids)),
        )
        memory.asked.clear()
        memory.calls, memory.frame = [*calls, call], frame_of(prompt)

    def _bridged(self, prompt: AbstractChatPrompt, calls: Sequence[KeptCall], options: Mapping[str, Any]) -> list[int]:
        """What was seen and said, and the bridge."""
        ids, last = ids_of_calls(calls), calls[-1]
        bridge, ending = self._memory.bridge(prompt, calls, self.tokenizer)
        options = {key: value for key, value in options.items() if key != "add_special_tokens"}
        if ending.drops_end:
            ids.pop()
        if last.beyond:
            ids = ids[: len(ids) - len(last.reply_ids)]
            count, rest = len(last.reply_ids), ""
            if not bridge.text.startswith(last.beyond):
                count, rest = said_len(self.tokenizer, ids, last.reply_ids, len(last.beyond))
            ids += last.reply_ids[:count]
            bridge = bridge.after(last.beyond) if count == len(last.reply_ids) else bridge.behind_rest(rest)
        end_id = last.end_id if ending.end else None
        return ids + encode_bridge(self.tokenizer, bridge, ending.end, end_id, **options)


class _Memory:
    """What the copies of a conversation share."""

    def __init__(self) -> None:
        self.calls: list[KeptCall] = []
        self.frame: dict[str, Any] = {}
        self.asked: dict[tuple[int, ...], Lost | None] = {}
        """What each prompt lost that was settled since the last call ended."""
        self._proven: set[tuple[Any, ...]] = set()

    def settled(self, token_ids: Sequence[int], lost: Lost | None) -> None:
        """Remember what a prompt loses; of requests that never ran, the last few."""
        self.asked[tuple(token_ids)] = lost
        while len(self.asked) > ASKED_CAP:
            del self.asked[next(iter(self.asked))]

    def standing(
        self, prompt: AbstractChatPrompt, messages: Sequence[Message] | None = None
    ) -> tuple[list[KeptCall], str]:
        """The calls whose messages the history still begins with, and why the others do not stand; empty where all do."""
        if not self.calls:
            return [], ""
        frame = frame_of(prompt)
        if frame != self.frame:
            names = [name for name in {**self.frame, **frame} if self.frame.get(name) != frame.get(name)]
            return [], f"the prompt has another {', '.join(names)} than at the call before"
        messages = messages_of(prompt) if messages is None else messages
        at = 0
        for number, call in enumerate(self.calls):
            end = at + len(call.messages)
            if end >= len(messages) or list(messages[at:end]) != list(call.messages):
                return self.calls[:number], _why_not(messages, at, call.messages)
            at = end
        return list(self.calls), ""

    def bridge(
        self, prompt: AbstractChatPrompt, calls: Sequence[KeptCall], tokenizer: Tokenizer
    ) -> tuple[BridgePrompt, Ending]:
        """What the template writes behind the last of these calls, and what of it was said."""
        contents = [content for content in prompt.get_history() if content.message is not None]
        shown = sum(len(call.messages) for call in calls) - (prompt.get_system_prompt() is not None)
        reply, last = contents[shown - 1], calls[-1]
        replied = RepliedPrompt(prompt, reply.message_id)
        end = None if last.end_id is None else _text_of(last.end_id, tokenizer)
        said = tokenizer.decode(last.reply_ids, skip_special_tokens=False) if replied.writes_calls else None
        tail = replied.tail()
        ending = ending_of(tail, replied.closed().tail(), end, tokenizer, said)
        shape = (
            *sorted(reply.fields),
            bool(replied.reply.strip()),
            roles_behind(prompt, prompt.get_history().index(reply)),
        )
        if shape not in self._proven:
            replied.prove(tail)
            self._proven.add(shape)
        return BridgePrompt(replied, tail[: ending.cut_len]), ending


def frame_of(prompt: AbstractChatPrompt) -> dict[str, Any]:
    """The settings of a prompt, which stand beside its messages."""
    return {key: value for key, value in prompt.to_dict().items() if key not in _UNREAD}


def _prompt_of(prompt: AnyPromptClass | AbstractChatPrompt | None, tokenizer: Tokenizer) -> AbstractChatPrompt:
    if isinstance(prompt, AbstractChatPrompt):
        return prompt
    if prompt is None:
        return new_prompt(prompt_for(tokenizer))
    if isinstance(prompt, str) and "{" in prompt:
        return ChatTemplatePrompt(tokenizer, chat_template=prompt)
    return new_prompt(prompt)


def _why_not(messages: Sequence[Message], at: int, called: Sequence[Message]) -> str:
    for number, said in enumerate(called, at):
        if number >= len(messages):
            return f"message {number + 1} was taken back"
        if messages[number] != said:
            return f"message {number + 1} is another than it was"
    return f"nothing was said behind message {at + len(called)}"


def _text_of(token_id: int, tokenizer: Tokenizer) -> str:
    return next(
        (text for text, special_id in tokenizer.special_strs.items() if special_id == token_id),
        "",
    ) or tokenizer.decode([token_id], skip_special_tokens=False)
