"""``chatlab chat``: talk with a model in the terminal; Ctrl-C stops the answer, not the program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatlab.cli.parts.completion import prompt_formats
from chatlab.cli.parts.shell import Revision, app, console, errors, typed_errors

if TYPE_CHECKING:
    from chatlab.engines.engine import Engine
    from chatlab.prompts.base import AbstractChatPrompt


@app.command()
def chat(
    model: Annotated[str | None, typer.Argument(help="folder or hub id; default: the embedded tiny model")] = None,
    revision: Revision = None,
    url: Annotated[str | None, typer.Option(help="an OpenAI-compatible server that runs MODEL instead")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="a prompt format; default: what fits the model", autocompletion=prompt_formats)
    ] = None,
    system: Annotated[str | None, typer.Option(help="a system text")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps")] = "cpu",
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token")] = None,
    top_k: Annotated[int, typer.Option(help="keep the k likeliest tokens; 0 keeps all")] = 50,
    top_p: Annotated[float, typer.Option(help="keep the likeliest tokens that reach this probability")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="tokens of an answer at most")] = 256,
    seed: Annotated[int | None, typer.Option(help="fixes the draw")] = None,
    show_tokens: Annotated[bool, typer.Option("--show-tokens", help="show each token's id and shade")] = False,
) -> None:
    """Chat with a model, several turns, in the terminal."""
    from chatlab.engines.sampling import SamplingParams
    from chatlab.streaming.terminal import chat_in_terminal

    with typed_errors():
        params = SamplingParams(
            temperature=temperature if temperature is not None else (0.0 if model is None else 1.0),
            top_k=top_k,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
        engine, opening = _remote(url, model, prompt) if url else _local(model, revision, prompt, device)
        if system is not None:
            opening.set_system_prompt(system)
        with engine:
            chat_in_terminal(engine, opening, params, show_tokens=show_tokens, console=console)


def _local(
    model: str | None, revision: str | None, prompt: str | None, device: str
) -> tuple[Engine, AbstractChatPrompt]:
    from chatlab.embedded import model_path
    from chatlab.engines.load import load_model
    from chatlab.engines.local import LocalEngine
    from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
    from chatlab.prompts.templates.choice import prompt_for
    from chatlab.tokenizers.load import load_tokenizer

    source = model or str(model_path())
    with errors.status("loading the model"):
        tokenizer = load_tokenizer(source, revision)
        engine = LocalEngine(load_model(source, revision, device=device), tokenizer)
    if prompt is not None:
        return engine, _prompt(prompt)
    if model is None:
        return engine, ChatPromptMetaLlamaLlama2Chat()
    choice = prompt_for(tokenizer.wrapped if tokenizer.wrapped is not None else model)
    errors.print(f"prompt: {choice.why}", style="dim", markup=False)
    return engine, choice()


def _remote(url: str, model: str | None, prompt: str | None) -> tuple[Engine, AbstractChatPrompt]:
    from chatlab.engines.remote import RemoteEngine
    from chatlab.errors import EngineError
    from chatlab.prompts.templates.choice import prompt_for
    from chatlab.tokenizers.load import load_tokenizer

    if model is None:
        raise EngineError(
            f"{url} may serve many models: name the one to talk with, as in chatlab chat MODEL --url {url}"
        )
    # Where the model's files are here too, the server reads exactly what was encoded, or that is said.
    tokenizer = load_tokenizer(model) if any(Path(model).glob("tokenizer*")) else None
    engine = RemoteEngine(url, model, tokenizer)
    return engine, _prompt(prompt) if prompt is not None else prompt_for(model)()


def _prompt(name: str) -> AbstractChatPrompt:
    """Return a prompt of a format's name, or of the user's own class."""
    from chatlab.cli.parts.own_code import imported
    from chatlab.prompts.dialogue import new_prompt
    from chatlab.prompts.filling import prompt_class_of

    return new_prompt(prompt_class_of(imported(name) if ":" in name else name))
