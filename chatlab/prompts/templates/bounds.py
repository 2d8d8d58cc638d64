"""Bounds for a chat template that is rendered in the process: what it writes, how often it loops, what it builds.

A downloaded template is a program.  In a child its time and memory end; here, where most people render, this much can
be had for nothing: every loop and macro counts a step, everything written counts its length, and what makes a long
text or list out of a short one (``*``, ``+``, ``~``, ``%``, padding, joining, replacing) is asked for its size before.
Python runs between all of them, so Ctrl-C is heard.  An honest template renders as it would without.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sized
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

STEPS = 1_000_000
"""Passes through a loop or macro in one render."""
LENGTH = 20_000_000
"""Characters that one render may write, and elements that one text or list of it may have."""

_PADDING = ("ljust", "rjust", "center", "zfill", "expandtabs")
_WIDTH = re.compile(r"\d{7,}|%[^%]*\*")
"""A width in a format that no honest one has."""


class Overstepped(Exception):
    """A template asks for more than it may."""


class Spent(threading.local):
    """What the render of this thread has used up so far."""

    steps = 0
    length = 0

    def clear(self) -> None:
        """Begin a render."""
        self.steps = self.length = 0

    def step(self) -> str:
        """Count a pass."""
        self.steps += 1
        if self.steps > STEPS:
            raise Overstepped(f"took more than {STEPS:,} steps")
        return ""

    def written(self, value: Any) -> str:
        """Return the text of what is written, and count it."""
        text = str(value)
        self.length += len(text)
        if self.length > LENGTH:
            raise Overstepped(f"wrote more than {LENGTH:,} characters")
        return text


SPENT = Spent()


def require(size: int) -> None:
    """Refuse to build what would be so long."""
    if size > LENGTH:
        raise Overstepped(f"asks for a text or list of more than {LENGTH:,}")


def _required(value: Any) -> Any:
    """Return a value that may grow no further: what doubles each time ends in time."""
    if isinstance(value, str | list):
        require(len(value))
    return value


def _step() -> str:
    return SPENT.step()


def _written(value: Any) -> str:
    return SPENT.written(value)


def _joined(*parts: Any) -> str:
    texts = [str(part) for part in parts]
    require(sum(map(len, texts)))
    return "".join(texts)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of transformers with these bounds; :func:`bounded` makes one."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute one operator, if its result is of a size that anybody needs."""
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    require(len(one) * other)
            _require_number(left, right, lambda a, b: a.bit_length() + b.bit_length())
        elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, Sized):
            require(len(left) + len(right))
        elif operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            require(LENGTH + 1)
        elif operator == "**":
            _require_number(left, right, lambda a, b: a.bit_length() * max(b, 1))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls; methods that lengthen a text are asked first."""
        if __obj is _step or __obj is _written or __obj is _joined:
            return __obj(*args)
        text, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(text, str):
            _require_method(text, name, args)
        return _required(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Any:
        """Return the sandbox's own ``format`` of a text, if it has no width that nobody needs."""
        text = getattr(value, "__self__", None)
        if isinstance(text, str) and _WIDTH.search(text):
            require(LENGTH + 1)
        return super().wrap_str_format(value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _count(tree)
        return tree


def _require_number(left: Any, right: Any, bits: Callable[[int, int], int]) -> None:
    if isinstance(left, int) and isinstance(right, int) and bits(left, right) > 100_000:
        raise Overstepped("computes a number of more than 100,000 bits")


def _require_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    if name in _PADDING:
        require(max((a for a in args if isinstance(a, int)), default=0) * (len(text) if name == "expandtabs" else 1))
    elif name == "replace" and len(args) > 1 and isinstance(args[0], str) and isinstance(args[1], str):
        require(text.count(args[0]) * len(args[1]))
    elif name == "join" and args and isinstance(args[0], Sized):
        require(len(text) * len(args[0]))


def _guarded(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that is asked for its size before; numbers among its arguments are widths, counts, indents."""

    @wraps(apply)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        passed = args[1:] if hasattr(apply, "jinja_pass_arg") else args
        for number in (*passed[1:], *kwargs.values()):
            require(number if isinstance(number, int) else 0)
        if passed and name == "format" and isinstance(passed[0], str) and _WIDTH.search(passed[0]):
            require(LENGTH + 1)
        if len(passed) > 1 and name == "join" and isinstance(passed[0], Sized) and isinstance(passed[1], str):
            require(len(passed[0]) * len(passed[1]))
        if len(passed) > 2 and name == "replace" and all(isinstance(part, str) for part in passed[:3]):
            require(passed[0].count(passed[1]) * len(passed[2]))
        return _required(apply(*args, **kwargs))

    return guarded


def _call(name: str, *args: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load"), list(args), [], None, None)


def _count(tree: nodes.Node) -> None:
    """Let every loop and macro count a step, everything written its length, and every ``~`` be asked."""
    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [
            part if isinstance(part, nodes.TemplateData) else _call("_chatlab_written", part) for part in output.nodes
        ]
    _replace_concats(tree)
    blocks: list[Any] = list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)))
    for block in blocks:
        block.body.insert(0, nodes.Output([_call("_chatlab_step")]))
    for node in tree.find_all(nodes.Node):
        if not node.lineno:
            node.set_lineno(getattr(tree, "lineno", None) or 1)


def _replace_concats(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Concat):
            setattr(node, field, _call("_chatlab_joined", *value.nodes).set_lineno(value.lineno))
        elif isinstance(value, list):
            value[:] = [
                _call("_chatlab_joined", *v.nodes).set_lineno(v.lineno) if isinstance(v, nodes.Concat) else v
                for v in value
            ]
    for child in node.iter_child_nodes():
        _replace_concats(child)


def bounded(environment: Any) -> BoundedEnvironment:
    """Return an environment like this one, with bounds."""
    own = environment.overlay()
    own.__class__ = BoundedEnvironment
    own.filters = {name: _guarded(name, apply) for name, apply in environment.filters.items()}
    own.globals = {
        **environment.globals,
        "_chatlab_step": _step,
        "_chatlab_written": _written,
        "_chatlab_joined": _joined,
    }
    found: BoundedEnvironment = own
    return found
