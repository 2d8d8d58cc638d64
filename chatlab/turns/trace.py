"""One conversation: at each border what is kept, what is lost, why, and what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from chatlab.echo.replies import ReplyStart
from chatlab.errors import DialogueError, EncodeError
from chatlab.prompts.dialogue import Dialogue
from chatlab.prompts.filling import AnyPromptClass, prompt_class_of
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer
from chatlab.turns.causes.case import Case
from chatlab.turns.causes.explain import iter_edits, laboratory_of
from chatlab.turns.talk import History, Replies, SaidCall, Store, Talks
from chatlab.turns.turns_trace import TurnsTrace as TurnsTrace
from chatlab.turns.turns_trace import TurnTrace as TurnTrace
from chatlab.turns.writer import Writer

AnyDialogue = Dialogue | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def trace_turns(
    tokenizer: Any,
    dialogue: AnyDialogue,
    *,
    prompt_class: AnyPromptClass | None = None,
    stored: Store = "verbatim",
    reply_ids: Replies = "canonical",
    reply_start: ReplyStart | None = None,
    history: History | None = None,
    clocks: Sequence[datetime] | None = None,
    end_ids: Collection[int] = (),
    add_special_tokens: bool = False,
) -> TurnsTrace:
    """Follow a conversation from call to call, and explain where the next prompt is not what was seen and said.

    Args:
        tokenizer: an AutoTokenizer, raw ``tokenizers.Tokenizer``, ``SentencePieceProcessor``, GGUF vocabulary, a path,
            or an adapter.
        dialogue: a dialogue, its plain data, or messages.
        prompt_class: a prompt class, the name of a format, or a prompt without messages, such as
            ``ChatTemplatePrompt(tokenizer, enable_thinking=False)``; left out, the tokenizer's own chat template.
        stored: what the program keeps of each reply; see :data:`chatlab.turns.talk.Store`.
        reply_ids: ``"canonical"``: the ids that the dialogue's replies have as a continuation; the sampled ids of each
            reply (or its raw text); or an engine's replies, such as ``ModelReplies(model)``.
        reply_start: how a reply from the dialogue begins; left out, as it is with a template, else as ``"word"``.
        history: what the program does to the messages before each call, such as leaving out the oldest.
        clocks: when each call was made; a template that asks for the time is told it.
        end_ids: ids that end a turn beside those that are known.
        add_special_tokens: as the program calls the tokenizer.

    Raises:
        ChatlabError: an option is none of those there are.
        DialogueError: the dialogue lacks a reply, or a prompt class has no place for it.
        EncodeError: there is no prompt class and no chat template.
        GenerationError: an engine, ``stored`` or ``history`` fails.
    """
    reader = as_tokenizer(tokenizer)
    asked = dialogue_of(dialogue)
    writer = writer_of(reader, prompt_class, asked)
    talks = Talks.of(
        reader,
        writer,
        stored=stored,
        replies=reply_ids,
        reply_start=reply_start,
        history=history,
        clocks=clocks,
        end_ids=end_ids,
        add_special_tokens=add_special_tokens,
    )
    calls = list(talks.calls(asked))
    return traced(
        talks,
        calls,
        dialogue=asked.id,
        stored=stored if isinstance(stored, str) else getattr(stored, "__name__", "function"),
    )


def traced(talks: Talks, calls: Sequence[SaidCall], *, dialogue: str, stored: str, given: bool = False) -> TurnsTrace:
    """Return the trace of calls as they went."""
    cases = [case_of(talks, call, after, given=given) for call, after in pairwise(calls)]
    turns, doubts = list[TurnTrace](), dict[str, None]()
    for number, case in enumerate(cases, 1):
        turn, uncounted = _turn(number, case)
        turns.append(turn)
        doubts.update(dict.fromkeys(uncounted))
    tokenizer = talks.tokenizer
    known = {i for call in calls for i in (*call.prompt_ids, *call.reply_ids)}
    return TurnsTrace(
        dialogue=dialogue,
        tokenizer=tokenizer.name,
        loader=tokenizer.loader,
        versions=tokenizer.versions,
        prompt_class=talks.writer.name,
        stored=stored,
        first_ids=calls[0].prompt_ids if calls else (),
        turns=tuple(turns),
        pieces={str(token_id): tokenizer.piece(token_id) for token_id in sorted(known)},
        uncounted=tuple(doubts),
    )


def case_of(talks: Talks, call: SaidCall, after: SaidCall, *, given: bool = False) -> Case:
    """Return one border as a case for the laboratory."""
    return Case(
        tokenizer=talks.tokenizer,
        writer=talks.writer,
        call=call,
        after=after,
        end_ids=talks.end_ids,
        end_strs=talks.end_strs,
        add=talks.add_special_tokens,
        given=given,
    )


def _turn(number: int, case: Case) -> tuple[TurnTrace, list[str]]:
    laboratory = laboratory_of(case)
    reading = laboratory.before
    border = reading.border
    turn = TurnTrace(
        number=number,
        prompt_len=len(border.prompt_ids),
        reply_ids=border.reply_ids,
        reply=case.call.reply,
        end_len=border.end_len,
        kept_len=border.kept_len,
        lost_len=border.lost_len,
        cached_len=border.cached_len,
        reread_len=border.reread_len,
        edits=tuple(iter_edits(laboratory)),
        bridge_ids=border.next_ids[reading.bridge_start :],
    )
    return turn, laboratory.uncounted


def dialogue_of(given: AnyDialogue) -> Dialogue:
    """Return a dialogue, of its plain data or of messages too.

    Raises:
        DialogueError: it is none.
    """
    if isinstance(given, Dialogue):
        return given
    if isinstance(given, Mapping):
        return Dialogue.from_dict(given)
    if isinstance(given, list | tuple) and all(isinstance(message, Mapping) for message in given):
        return Dialogue.from_dict({"messages": list(given)})
    raise DialogueError(f"a conversation is a Dialogue, its data or messages, not {type(given).__name__}")


def writer_of(reader: Tokenizer, prompt_class: AnyPromptClass | None, dialogue: Dialogue) -> Writer:
    """Return who writes the prompts of a dialogue.

    Raises:
        EncodeError: there is no prompt class, and the tokenizer has no chat template.
    """
    if prompt_class is not None:
        made = prompt_class_of(prompt_class)
    elif getattr(reader.wrapped, "chat_template", None):
        made = _Template(reader)
    else:
        raise EncodeError(
            f"{reader.name} carries no chat template: give prompt_class=, a class or the name of a format such as 'llama2'"
        )
    return Writer(prompt_class=made, tools=dialogue.tools, variables=dict(dialogue.variables))


@dataclass(frozen=True)
class _Template:
    """Makes prompts of a tokenizer's own chat template."""

    reader: Tokenizer

    __name__ = "ChatTemplatePrompt"

    def __call__(self) -> ChatTemplatePrompt:
        return ChatTemplatePrompt(self.reader.wrapped)
