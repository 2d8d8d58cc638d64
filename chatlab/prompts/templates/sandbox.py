"""The rendering of chat templates: here for those we trust, in a child process with limits for those we do not.

Both use the sandboxed Jinja environment of transformers. The sandbox stops a template from reaching Python's
internals, but nothing in it stops ``{{ 'a' * 10**9 }}``: only a process that can be killed, and that may not
grow, does. This file is also the child's program, run by its path, so it imports nothing of chatlab at load.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn


@dataclass(frozen=True, kw_only=True)
class TemplateLimits:
    """What an untrusted template may use: seconds of time, bytes of memory above a bare child, characters of output."""

    time_s: float = 1.0
    memory_bytes: int = 512 * 2**20
    output_len: int = 1_000_000


def render(template: str, variables: Mapping[str, Any], *, clock: datetime | None = None) -> str:
    """Render a template in this process, within :mod:`~chatlab.prompts.templates.bounds`.

    ``clock`` is what ``strftime_now`` tells, now when it is None.

    Raises:
        TemplateSyntaxError: the template is not Jinja.
        TemplateLimitError: it loops, nests or writes without end.
        TemplateError: the template fails, or refuses its messages.
    """
    from chatlab.errors import TemplateError, TemplateLimitError, TemplateSyntaxError, harmless
    from chatlab.prompts.templates.bounds import SPENT, Overstepped

    try:
        SPENT.clear()
        return str(_bounded(template, clock).render(**variables))
    except Overstepped as error:
        raise TemplateLimitError(f"the chat template {error}") from error
    except (RecursionError, MemoryError) as error:
        raise TemplateLimitError(f"the chat template took too much memory ({type(error).__name__})") from error
    except Exception as error:
        # A template is foreign code: whatever it raises, the template is what failed.
        wrong = TemplateSyntaxError if _is_syntax(error) else TemplateError
        raise wrong(f"the chat template {_told(error)}") from harmless(error)


def render_untrusted(
    template: str,
    variables: Mapping[str, Any],
    *,
    clock: datetime | None = None,
    limits: TemplateLimits = TemplateLimits(),
) -> str:
    """Render a template in a child process that is killed when it oversteps a limit.

    Raises:
        TemplateSyntaxError: the template is not Jinja.
        TemplateError: the template fails, refuses its messages, or reaches for Python's internals.
        TemplateLimitError: it took too much time, memory or output, or there is no process to limit (it needs Linux).
    """
    from chatlab.errors import TemplateError, TemplateLimitError, TemplateSyntaxError

    request = {
        "template": template,
        "variables": variables,
        "clock": clock.isoformat() if clock else None,
        "output_len": limits.output_len,
    }
    try:
        line = json.dumps(request).encode() + b"\n"
    except TypeError as error:
        raise TemplateError(f"an untrusted chat template gets plain data only: {error}") from error
    with _LOCK:
        child = _child(limits.memory_bytes)
        try:
            answer = child.ask(line, limits)
        except BaseException:
            child.kill()  # interrupted: its answer would be taken for the next one's
            raise
    if "text" in answer:
        return str(answer["text"])
    wrong = {"limit": TemplateLimitError, "syntax": TemplateSyntaxError}.get(answer["kind"], TemplateError)
    raise wrong(f"the untrusted chat template {answer['error']}")


@lru_cache(maxsize=64)
def _bounded(template: str, clock: datetime | None) -> Any:
    from chatlab.prompts.templates.bounds import bounded

    return _compiled_by(bounded(_environment()), template, clock)


@lru_cache(maxsize=64)
def _compiled(template: str, clock: datetime | None) -> Any:
    environment = _environment()
    # Jinja's own answer is a value that prints as nothing; an untrusted template that tries gets no second try.
    environment.unsafe_undefined = _refuse
    return _compiled_by(environment, template, clock)


def _environment() -> Any:
    from transformers.utils.chat_template_utils import _cached_compile_jinja_template

    return _cached_compile_jinja_template("").environment


@lru_cache(maxsize=64)
def asked_variables(template: str) -> tuple[str, ...]:
    """Return the names that a template reads and does not set, sorted: what its caller may tell it.

    Raises:
        TemplateSyntaxError: the template is not Jinja.
    """
    from jinja2.meta import find_undeclared_variables

    from chatlab.errors import TemplateSyntaxError, harmless

    try:
        return tuple(sorted(find_undeclared_variables(_environment().parse(template))))
    except Exception as error:
        raise TemplateSyntaxError(f"the chat template {_told(error)}") from harmless(error)


def _compiled_by(environment: Any, template: str, clock: datetime | None) -> Any:
    if clock is not None:
        environment.globals["strftime_now"] = clock.strftime
    return environment.from_string(template)


def _refuse(obj: Any, attribute: str) -> NoReturn:
    from jinja2.exceptions import SecurityError

    raise SecurityError(f"access to {attribute!r} of a {type(obj).__name__}")


def _is_syntax(error: Exception) -> bool:
    from jinja2.exceptions import TemplateSyntaxError

    return isinstance(error, TemplateSyntaxError)


def _told(error: Exception) -> str:
    if _is_syntax(error):
        return f"is not Jinja: line {error.lineno}: {error.message}"  # type: ignore[attr-defined]  # jinja's fields
    return f"failed: {type(error).__name__}: {error}"


class _Child:
    """A process that renders one template after another until one oversteps."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes, self.pid = memory_bytes, os.getpid()
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")}
        self._process = subprocess.Popen(
            [sys.executable, "-I", os.path.abspath(__file__), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "USE_TORCH": "0"},
        )
        self._started = self._read(time.monotonic() + 60, "") == {"text": "ready"}

    def ask(self, line: bytes, limits: TemplateLimits) -> dict[str, Any]:
        if not self._started:
            self.kill()
            return {"kind": "limit", "error": "was not rendered: no process with limits could start (it needs Linux)"}
        assert self._process.stdin
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:
            return {"kind": "limit", "error": "was not rendered: its process was killed by another"}
        return self._read(time.monotonic() + limits.time_s, f"took longer than {limits.time_s} s")

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._process.poll() is None

    def kill(self) -> None:
        if self.pid == os.getpid():
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    pipe.close()

    def _read(self, deadline: float, late: str) -> dict[str, Any]:
        assert self._process.stdout
        descriptor, parts = self._process.stdout.fileno(), list[bytes]()
        while not (parts and parts[-1].endswith(b"\n")):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(descriptor, 1 << 16) if ready else b""
            if not part:
                self.kill()
                return {"kind": "limit", "error": late if not ready else "ended its process: too much memory"}
            parts.append(part)
        answer: dict[str, Any] = json.loads(b"".join(parts))
        return answer


_LOCK = threading.Lock()
_CHILDREN: list[_Child] = []


@atexit.register
def _end_children() -> None:
    for child in _CHILDREN:
        child.kill()


def _child(memory_bytes: int) -> _Child:
    """The running child, or a new one."""
    for child in list(_CHILDREN):
        if child.alive() and child.memory_bytes == memory_bytes:
            return child
        child.kill()
        _CHILDREN.remove(child)
    _CHILDREN.append(_Child(memory_bytes))
    return _CHILDREN[0]


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the child says to one request."""
    clock = datetime.fromisoformat(request["clock"]) if request["clock"] else None
    parts, length = list[str](), 0
    try:
        for part in _compiled(request["template"], clock).generate(**request["variables"]):
            length += len(part)
            if length > request["output_len"]:
                return {"kind": "limit", "error": f"wrote more than {request['output_len']} characters"}
            parts.append(part)
    except (MemoryError, RecursionError) as error:
        return {"kind": "limit", "error": f"took too much memory ({type(error).__name__})"}
    except Exception as error:
        return {"kind": "syntax" if _is_syntax(error) else "failed", "error": _told(error)[:500]}
    return {"text": "".join(parts)}


def _serve(memory_bytes: int) -> None:
    """The child's life: load, say so, give up the right to grow, then answer line by line until stdin ends."""
    import resource

    from transformers.utils.chat_template_utils import _cached_compile_jinja_template

    _cached_compile_jinja_template("{{ messages }}").render(messages=[])
    with open("/proc/self/statm", encoding="ascii") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + memory_bytes, size + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps({"text": "ready"}), flush=True)
    for line in sys.stdin.buffer:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
