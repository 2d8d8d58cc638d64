"""``chatlab serve``: a model on a port of this machine, with a page, ChatStream's requests and OpenAI's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from chatlab.cli.parts.shell import Revision, UsageError, app, console, errors, typed_errors

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from chatlab.engines.engine import Engine
    from chatlab.server.chat_stream import ChatStream
    from chatlab.server.faults.fault import Fault
    from chatlab.server.serving import Serving
    from chatlab.server.sessions.sqlite import SqliteSessions

Wire = Literal["chatstream", "sse", "delta"]

BODY_BYTES = 1 << 20
"""Of a request: whole conversations come by OpenAI's interface, and only from this machine."""


@app.command()
def serve(
    model: Annotated[str | None, typer.Argument(help="folder or hub id; default: the embedded tiny model")] = None,
    revision: Revision = None,
    port: Annotated[int, typer.Option(help="0 takes a free one", min=0, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="a name of this machine to itself")] = "127.0.0.1",
    wire: Annotated[
        Wire, typer.Option(help="how /chat_stream answers who does not ask for server-sent events")
    ] = "chatstream",
    running: Annotated[int, typer.Option(help="requests that are answered at once", min=1)] = 2,
    waiting: Annotated[int, typer.Option(help="requests that may wait", min=0)] = 5,
    store: Annotated[Path | None, typer.Option(help="a SQLite file that keeps chats; left out, memory does")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps")] = "cpu",
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="tokens of an answer at most", min=1)] = 256,
    fault: Annotated[
        str | None, typer.Option(help="be dishonest in one way, to try what tests servers; `list` names them")
    ] = None,
) -> None:
    """Serve a chat on this machine: a page, ChatStream's requests and OpenAI's, until Ctrl-C."""
    with typed_errors():
        from chatlab.server.site.running import check_loopback, run

        check_loopback(host)  # before a model is loaded
        chosen, kept = _fault(fault), _store(store)
        name = Path(model).name if model else "tiny-llama2-chat"
        with errors.status("loading the model"):
            engine = _engine(model, revision, device)
        with engine:
            serving = _serving(engine, running, waiting, chosen)
            at = temperature if temperature is not None else (0.0 if model is None else 1.0)
            chat_stream = _chat_stream(serving, kept, temperature=at, max_new_tokens=max_new_tokens)
            site = _site(chat_stream, name, chosen, wire)
            run(site, chat_stream.close, host=host, port=port, on_ready=lambda url: _tell(url, chosen))


def _fault(name: str | None) -> Fault | None:
    from chatlab.server.faults.table import FAULTS

    if name == "list":
        for fault in FAULTS.values():
            console.print(Text(f"{fault.name}: {fault.does}"), soft_wrap=True)
        raise typer.Exit
    if name is not None and name not in FAULTS:
        raise UsageError(f"no fault is called {name!r:.80}: there are {', '.join(FAULTS)}")
    return None if name is None else FAULTS[name]


def _engine(model: str | None, revision: str | None, device: str) -> Engine:
    from chatlab.embedded import model_path
    from chatlab.engines.load import load_model
    from chatlab.engines.local import LocalEngine
    from chatlab.tokenizers.load import load_tokenizer

    source = model or str(model_path())
    tokenizer = load_tokenizer(source, revision)
    weights = load_model(source, revision, device=device)
    return LocalEngine(weights, tokenizer, decode_rows="auto", reuse_prefix="auto")


def _serving(engine: Engine, running: int, waiting: int, fault: Fault | None) -> Serving:
    from chatlab.server.admission import Admission
    from chatlab.server.faults.serving import DishonestServing
    from chatlab.server.limits import Limits
    from chatlab.server.serving import Serving

    admission, limits = Admission(running, waiting), Limits(body_bytes=BODY_BYTES)
    if fault is None:
        return Serving(engine, admission=admission, limits=limits)
    return DishonestServing(engine, fault=fault, admission=admission, limits=limits)


def _store(file: Path | None) -> SqliteSessions | None:
    from chatlab.server.sessions.sqlite import SqliteSessions

    return None if file is None else SqliteSessions(file)


def _chat_stream(
    serving: Serving, store: SqliteSessions | None, *, temperature: float, max_new_tokens: int
) -> ChatStream:
    from chatlab.server.chat_stream import ChatStream
    from chatlab.server.limits import LOOPBACK_HOSTS
    from chatlab.server.request_handler import SimpleSessionRequestHandler

    return ChatStream(
        serving=serving,
        request_handler=SimpleSessionRequestHandler(store),
        allowed_hosts=LOOPBACK_HOSTS,
        context_len=getattr(serving.engine, "context_len", None) or 1024,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
    )


def _site(chat_stream: ChatStream, name: str, fault: Fault | None, wire: Wire) -> Starlette:
    from chatlab.prompts.templates.choice import prompt_for
    from chatlab.server.openai.routes import openai_routes
    from chatlab.server.site.app import create_app
    from chatlab.server.site.chat import add_chat
    from chatlab.server.site.page import page_routes

    serving = chat_stream.serving
    openai = openai_routes(serving, model=name, prompt_class=prompt_for(serving.tokenizer))
    page = page_routes(serving, name=name, fault="" if fault is None else fault.does)
    site = create_app(serving, openai, page, name=name)
    add_chat(site, chat_stream, wire)
    return site


def _tell(url: str, fault: Fault | None) -> None:
    console.print(Text(f"chatlab serves at {url}  (Ctrl-C ends it)"), soft_wrap=True)
    if fault is not None:
        errors.print(Text(f"dishonest on purpose: {fault.name}: it {fault.does}"), soft_wrap=True)
