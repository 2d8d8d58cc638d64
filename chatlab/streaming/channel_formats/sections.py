r"""Channels that pairs cannot say: tool calls in a section, harmony's headers, a call that is bare JSON."""

from __future__ import annotations

from dataclasses import replace

from chatlab.streaming.channels import Channel, Channels, Crossing, State


def with_section(
    channels: Channels, *, section: tuple[str, str], call: tuple[str, str], calls: str, name: str
) -> Channels:
    """Channels with a section of tool calls, each between an opening and a closing; it ends an open reasoning, too."""
    open_section, close_section = section
    opening, closing = call
    into = Crossing(open_section, "section")
    states = [
        (known, state if state.channel == "tool_call" or state.at_once else _with(state, into))
        for known, state in channels.states
    ]
    between = State(
        channel="tool_call", silent=True, crossings=(Crossing(opening, "call"), Crossing(close_section, "content"))
    )
    inside = State(channel="tool_call", crossings=(Crossing(closing, "section"), Crossing(close_section, "content")))
    return Channels(
        states=(*states, ("section", between), ("call", inside)), start=channels.start, calls=calls, name=name
    )


def harmony() -> Channels:
    """gpt-oss: messages with a header that tells the channel, and of a tool call who is called.

    The header of a call is part of what is said in it, because it names the function; those of other messages are
    delimiters. Commentary that calls nobody is content, for the user to see.
    """
    headers: list[Crossing] = []
    for start in ("", "<|start|>assistant"):
        headers += (
            Crossing(start + "<|channel|>analysis", "analysis header"),
            Crossing(start + "<|channel|>final", "final header"),
            Crossing(start + "<|channel|>commentary", "commentary"),
            Crossing(start + " to=", "call"),
        )
    ends = tuple(Crossing(text, "between") for text in ("<|end|>", "<|return|>", "<|call|>"))
    commentary = (Crossing(" to=", "call"), Crossing("<|message|>", "content"))
    return Channels(
        states=(
            ("between", State(channel="content", at_once=tuple(headers), otherwise="content")),
            ("analysis header", _header("reasoning", "reasoning")),
            ("final header", _header("content", "content")),
            ("commentary", State(channel="content", at_once=commentary, otherwise="commentary header")),
            ("commentary header", _header("content", "content")),
            ("reasoning", State(channel="reasoning", crossings=ends)),
            ("content", State(channel="content", crossings=ends)),
            ("call", State(channel="tool_call", crossings=ends)),
        ),
        start="between",
        calls="harmony",
        name="harmony",
    )


def bare_json() -> Channels:
    r"""Llama 3: a reply that begins as ``{"name"`` does is a call, to its end; ``<|python_tag|>`` begins one anywhere."""
    heads = [
        "{" + blank + key
        for blank in ("", " ", "\n  ", "\n    ")
        for key in ('"name"', '"type": "function"', '"function"')
    ]
    tag = Crossing("<|python_tag|>", "call")
    return Channels(
        states=(
            (
                "start",
                State(
                    channel="content",
                    at_once=(*(Crossing(h, "call", said=True) for h in heads), tag),
                    otherwise="content",
                ),
            ),
            ("content", State(channel="content", crossings=(tag,))),
            ("call", State(channel="tool_call")),
        ),
        start="start",
        calls="json",
        name="llama3",
    )


def _header(channel: Channel, to: str) -> State:
    return State(channel=channel, silent=True, crossings=(Crossing("<|message|>", to),))


def _with(state: State, crossing: Crossing) -> State:
    return replace(state, crossings=(*state.crossings, crossing))
