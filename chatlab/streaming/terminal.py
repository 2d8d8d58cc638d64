"""A chat in a terminal: one prompt object, one engine, and an interrupt that stops the answer and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.text import Text

from chatlab.engines.engine import Engine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ChatlabError
from chatlab.prompts.base import AbstractChatPrompt
from chatlab.render import readable
from chatlab.streaming.result import Delta, StreamResult
from chatlab.streaming.stream import TextStream, stream
from chatlab.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

HELP = "Ctrl-C stops an answer, /clear forgets the dialogue, /retry answers again, /quit or Ctrl-D leaves."
_SHADES = ("on grey23", "on grey35")


def chat_in_terminal(
    engine: Engine,
    prompt: AbstractChatPrompt,
    params: SamplingParams | None = None,
    *,
    show_tokens: bool = False,
    console: Console | None = None,
    ask: Callable[[str], str] = input,
    **options: Any,
) -> list[StreamResult]:
    """Talk with a model until the user leaves; return every answer.

    A message that fails (too long, or a fault in the model) says why, and the chat goes on without it.

    Args:
        engine: what answers.
        prompt: the dialogue; it may hold turns already, and holds all of them in the end.
        params: how to sample.
        show_tokens: shade each token's text, show its id, and count and time the answer.
        console: where to write; left out, standard output.
        ask: reads one line and raises ``EOFError`` at the end; left out, ``input``.
        options: further ones of :func:`chatlab.streaming.stream.stream`.
    """
    console = console or Terminal()
    console.print(HELP, style="dim")
    results: list[StreamResult] = []
    while True:
        try:
            line = ask("> ")
        except EOFError:
            return results
        except KeyboardInterrupt:
            console.print("\n(/quit or Ctrl-D leaves)", style="dim")
            continue
        if line.strip() in ("/quit", "/exit"):
            return results
        if _prepared(prompt, line, console):
            result = _answer(engine, prompt, params, show_tokens, console, options)
            if result is not None:
                results.append(result)


def _prepared(prompt: AbstractChatPrompt, line: str, console: Console) -> bool:
    """Put a line into the dialogue; tell whether there is something to answer."""
    command = line.strip()
    if command == "/clear":
        prompt.clear_history()
        console.print("(the dialogue is empty)", style="dim")
    elif command == "/retry":
        if prompt.get_responder_last_msg() is None:
            console.print("(there is no answer yet)", style="dim")
            return False
        prompt.clear_last_message()
        return True
    elif command.startswith("/"):
        console.print(HELP, style="dim")
    elif command:
        prompt.add_requester_msg(line)
        return True
    return False


def _answer(
    engine: Engine,
    prompt: AbstractChatPrompt,
    params: SamplingParams | None,
    show_tokens: bool,
    console: Console,
    options: dict[str, Any],
) -> StreamResult | None:
    """Stream one answer; on an error take its question back, so that the next one stands on sound history."""
    before = prompt.copy()
    reply: TextStream | None = None
    try:
        reply = stream(prompt, engine, params, **options)
        for count, delta in enumerate(reply):
            console.print(_drawn(delta, count, show_tokens), end="", soft_wrap=True, highlight=False)
    except KeyboardInterrupt:
        pass  # the stream has stopped its engine and kept the text so far
    except ChatlabError as error:
        console.print(Text(f"\nerror: {readable(str(error))}", style="bold red"), soft_wrap=True)
        _take_back(prompt, before)
        return None
    if reply is None:  # interrupted before the first token
        _take_back(prompt, before)
        return None
    reply.close()
    result = reply.result()
    console.print()
    if show_tokens or result.finish_reason in ("cancelled", "length"):
        console.print(Text(_summary(result)), style="dim", highlight=False)
    return result


def _take_back(prompt: AbstractChatPrompt, before: AbstractChatPrompt) -> None:
    """Remove what the failed turn added: its open answer and its question."""
    while len(prompt.get_history()) >= len(before.get_history()):
        prompt.remove_last_message()


def _drawn(delta: Delta, count: int, show_tokens: bool) -> Text:
    """The text of a delta, which must not steer the terminal, and on request the ids it came with."""
    if not (show_tokens and delta.token_ids):  # a piece of a server's text is no token
        return Text(readable(delta.text))
    drawn = Text(readable(delta.text), style=_SHADES[count % 2])
    for token_id in delta.token_ids:
        drawn.append(f"{token_id} ", style="dim")
    return drawn


def _summary(result: StreamResult) -> str:
    speed = f", {result.tokens_per_s:.0f} tokens/s" if result.tokens_per_s else ""
    first = f", first after {result.ttft_s:.2f} s" if result.ttft_s is not None else ""
    counted = f", {len(result.token_ids)} tokens" if result.token_ids or not result.raw_text else ""
    return f"({result.finish_reason}{counted}{first}{speed})"
