"""A model behind an OpenAI-compatible server: the road for models that outgrow one machine."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from chatlab.engines.dialects.asked import Asked
from chatlab.engines.dialects.bodies import completion_body, full_probe, text_probe
from chatlab.engines.dialects.capabilities import Capabilities
from chatlab.engines.dialects.completions import CompletionReader
from chatlab.engines.dialects.facts import ServerFacts, facts_of, tokenize_body, tokenized
from chatlab.engines.dialects.heeded import SamplingWarning, lacking, untold
from chatlab.engines.dialects.llama_cpp import heeded, llama_cpp_body
from chatlab.engines.dialects.server_text import server_text, text_of_stop, warn_of_other_reading
from chatlab.engines.engine import (
    Emitter,
    Engine,
    TokenStream,
    as_engine_error,
    check_prompt,
    pick_seed,
    release_left_lock,
)
from chatlab.engines.sampling import SamplingParams
from chatlab.engines.scripted import CodePointTokenizer
from chatlab.engines.transport.address import roots, server_address
from chatlab.engines.transport.connection import Connection
from chatlab.engines.transport.limits import RemoteLimits
from chatlab.engines.transport.secrets import Secret
from chatlab.errors import EngineClosed, EngineError, RemoteBusy, RemoteError, RemoteLacks
from chatlab.tokenizers.load import as_tokenizer

_PROBE_TEXT = "Hello, how are you today?"


class RemoteEngine(Engine):
    """Continue a prompt on a server with the ``/v1/completions`` interface, such as vLLM, llama.cpp or transformers serve.

    At connect it asks for a few tokens and looks at what really comes back (:attr:`capabilities`). With ids in and
    out (vLLM) a reply is as well known as a local one. A server that speaks text gets the prompt's own text and gives
    :class:`chatlab.engines.engine.TextEvent`; whatever needs ids is then refused instead of guessed.

    llama.cpp is spoken to in its own ``/completion``: ids in, every sampler as asked for, and proven by the settings
    that it tells back. Its streams leave out the ids of unfinished characters, so the reply comes as text there, never
    as a silently short list of ids.

    What becomes of a text is the server's affair. It is taken to encode with special tokens, as transformers serve
    and llama.cpp do: where ``tokenizer`` adds a BOS by itself, one that leads the text is left out, since the server
    puts its own there; if it then still reads other ids than those encoded here, a
    :class:`chatlab.engines.dialects.server_text.RereadWarning` names the first. Ids given to :meth:`submit` alone go as text
    only where that text is read as those ids. Without ``tokenizer`` nothing is left out or known. A message may spell
    a control token there, against law L8: a :class:`chatlab.engines.dialects.server_text.ServerTextWarning` names it. The reply
    is the text as the server decodes it: transformers serve leaves out a blank that leads one.

    Nothing is ever cut short in silence: a stream without its mark of an end raises ``RemoteCut``, and one that gives
    more than was asked for, or more than ``limits`` allow, a ``RemoteError``. A busy server is asked again, as it
    wishes, only while no token has come. What the server says of the prompt (its ids, its count of them) is held
    against the ids here. The sampling in force is the one asked for: every parameter that the server was seen to heed
    is sent, with its off value too; a :class:`chatlab.engines.dialects.heeded.SamplingWarning` says, once, where a
    default of :class:`SamplingParams` cannot be sent. Proxies of the environment are not used and redirects not
    followed. Close it, or let it go: its thread and connections end with it.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        tokenizer: Any = None,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 2,
        limits: RemoteLimits | None = None,
        transport: Any = None,
    ) -> None:
        """Connect and probe.

        Args:
            base_url: such as ``http://127.0.0.1:8000/v1``; only ``http`` and ``https``, and ``/v1`` may be left out.
            model: the model's name on the server.
            tokenizer: the model's tokenizer; without one the prompt goes as text and ids are characters.
            api_key: sent as bearer token; never shown in messages, also where a server sends it back.
            timeout: seconds without a piece of the reply after which the server counts as gone; comments that only
                keep the line open are no piece.
            retries: how often a busy or failing server is asked again before the first token.
            limits: the most that is taken of one answer, in seconds and bytes.
            transport: of ``httpx2``, for tests.

        Raises:
            RemoteError: the address or the key is malformed, or nothing there answers like a completions server.
            RemoteLacks: the server speaks chat completions only.
        """
        if not isinstance(model, str) or not model:
            raise RemoteError(f"model must be the model's name on the server, not {model!r:.100}")
        address = server_address(base_url)
        key = None if api_key is None else Secret(api_key)
        self.model = model
        self.tokenizer = CodePointTokenizer() if tokenizer is None else as_tokenizer(tokenizer)
        self._knows_ids = tokenizer is not None
        self._lock = threading.Lock()
        self._closed = self._told = False
        self._tasks: dict[asyncio.Task[None], Emitter] = {}
        self._connection = Connection(
            key=key, timeout=timeout, retries=retries, limits=limits or RemoteLimits(), transport=transport
        )
        try:
            found: tuple[str, Capabilities] = self._learn(self._found(address))
            self._url, self.capabilities = found
            self.facts: ServerFacts = self._learn(self._facts())
            self._speaks_llama_cpp = self.facts.owned_by == "llamacpp" and self._learn(self._met_llama_cpp())
            self._tokenizes = (
                self._knows_ids and self.reads_text and self._learn(self._reading(_PROBE_TEXT)) is not None
            )
        except BaseException:
            self.close()
            raise

    @property
    def context_len(self) -> int | None:
        """Tokens of prompt and reply together, where the server tells."""
        return self.facts.context_len

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin a request; see :meth:`chatlab.engines.engine.Engine.submit`.

        Raises:
            RemoteLacks: it asks for what the server was not seen to give, or for ids that no text says.
        """
        return self._submit(None, prompt_ids, params, seed)

    def submit_text(
        self, text: str, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin a request; where the server takes no ids it gets ``text``."""
        return self._submit(text, prompt_ids, params, seed)

    @property
    def reads_text(self) -> bool:  # type: ignore[override]
        """Whether the server takes the prompt as text only."""
        return not self.capabilities.ids_in

    @property
    def tells_ids(self) -> bool:  # type: ignore[override]
        """Whether the server gives the ids of its replies."""
        return self.capabilities.ids_out

    def _submit(
        self, text: str | None, prompt_ids: Sequence[int], params: SamplingParams | None, seed: int | None
    ) -> TokenStream:
        params = params or SamplingParams()
        can = self.capabilities
        self._check(params, params.seed if seed is None else seed)
        token_ids = check_prompt(prompt_ids, vocab_len=self.tokenizer.vocab_len, context_len=self._context_len(params))
        used_seed = pick_seed(params, seed) if "seed" in can.sampling else None
        prompt: list[int] | str = token_ids
        if self.reads_text:
            prompt = server_text(text, token_ids, self.tokenizer)
            if self._tokenizes:
                reading = self._learn(self._reading(prompt))
                warn_of_other_reading(reading, None, prompt, self.tokenizer)
        stops = [] if can.ids_out else [text_of_stop(i, self.tokenizer) for i in params.stop_ids]
        most = min(params.max_new_tokens, self._context_len(params) - len(token_ids))
        asked = Asked(
            max_new_tokens=most,
            stop_ids=frozenset(params.stop_ids),
            stops=tuple(stops),
            prompt_ids=tuple(token_ids),
            tokenizer=self.tokenizer if self._knows_ids else None,
        )
        params = replace(params, max_new_tokens=most)
        if self._speaks_llama_cpp:
            body = llama_cpp_body(prompt, params, used_seed, stops, self.context_len or params.context_len)
        else:
            body = completion_body(self.model, prompt, params, used_seed, can, stops)
        holder: list[asyncio.Task[None]] = []
        emitter = Emitter(wake=lambda: self._cancel(holder))
        with self._lock:
            if self._closed:
                raise EngineClosed("this RemoteEngine was closed: connect again")
            self._connection.wait(self._begin(holder, emitter, self._run(body, emitter, asked)))
        return TokenStream(emitter, prompt_len=len(token_ids), seed=used_seed)

    @property
    def active_len(self) -> int:
        """How many requests have not ended."""
        return len(self._tasks)

    def close(self) -> None:
        """Break off what runs, disconnect, and take no more requests."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._tasks:
            self._connection.wait(self._break_off())
        self._connection.close()

    def after_fork(self) -> None:
        """Leave the requests to the parent, and connect anew when there is one to make."""
        release_left_lock(self._lock)
        self._connection.after_fork()
        emitters, self._tasks = list(self._tasks.values()), {}
        for emitter in emitters:
            emitter.leave_behind()

    def _context_len(self, params: SamplingParams) -> int:
        """Tokens that prompt and reply may have; characters are no measure of them."""
        if not self._knows_ids:
            return sys.maxsize
        return min(params.context_len, self.context_len or params.context_len)

    def _check(self, params: SamplingParams, seed: int | None) -> None:
        """Refuse what the server was not seen to give; say once what of the sampling cannot be told to it."""
        if lacks := lacking(params, seed, self.capabilities):
            raise RemoteLacks(
                f"{self.model} at {self._url} was not seen to heed {', '.join(lacks)}: leave it out, or use a LocalEngine"
            )
        if not self._told and (said := untold(params, self.capabilities)) is not None:
            self._told = True
            warnings.warn(f"{self._url}: {said}", SamplingWarning, stacklevel=4)

    def _learn(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait for an answer; an error is raised without the key."""
        try:
            return self._connection.wait(work)
        except EngineError as error:
            hidden = self._connection.hidden(error)
        raise hidden

    async def _break_off(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, holder: list[asyncio.Task[None]], emitter: Emitter, run: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(run)
        holder.append(task)
        self._tasks[task] = emitter

    def _cancel(self, holder: list[asyncio.Task[None]]) -> None:
        loop = self._connection.loop
        if holder and holder[0] in self._tasks and not loop.is_closed():
            loop.call_soon_threadsafe(holder[0].cancel)

    async def _run(self, body: dict[str, Any], emitter: Emitter, asked: Asked) -> None:
        end: tuple[Any, BaseException | None]
        try:
            reader = CompletionReader(emitter, ids_out=self.capabilities.ids_out, asked=asked)
            await self._connection.ask(self._url, body, reader)
            if self._knows_ids:
                warn_of_other_reading(reader.prompt_ids, reader.prompt_len, body["prompt"], self.tokenizer)
            end = reader.finish_reason, None
        except asyncio.CancelledError:
            end = "cancelled", None
        except BaseException as error:
            end = "error", self._connection.hidden(as_engine_error(error))
        task = asyncio.current_task()
        assert task is not None
        self._tasks.pop(task, None)
        emitter.end(*end)

    async def _found(self, address: str) -> tuple[str, Capabilities]:
        """The place that answers completions, and what it can do; ``/v1`` is looked for where it was left out."""
        interface, bare = roots(address)
        places = [interface] if interface == address else [interface, address]
        refusals = []
        for place in places:
            try:
                url = f"{place}/completions"
                return url, await self._probe(url)
            except RemoteError as error:
                if error.status not in (404, 405):
                    raise
                refusals.append(error)
        if await self._chats(f"{interface}/chat/completions"):
            raise RemoteLacks(
                f"{interface} has chat completions only: it puts its own template around messages, so that no text and no "
                "ids can be given to it. Serve the model where /v1/completions is, such as vLLM, llama.cpp or "
                "transformers serve, or give the model's folder to a LocalEngine"
            )
        raise refusals[0]

    async def _chats(self, url: str) -> bool:
        """Whether a server takes chats, whatever it says to this one."""
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": self.model, "messages": messages, "max_tokens": 1, "stream": True}
        reader = CompletionReader(Emitter(), ids_out=False)
        try:
            await self._connection.ask(url, body, reader)
        except RemoteError as error:
            return reader.begun or error.status in (400, 422)
        except EngineError:
            pass
        return True

    async def _reading(self, text: str) -> list[int] | None:
        """The ids that the server reads in a text, where it has a place to ask."""
        return tokenized(await self._connection.fact(f"{self._root}/tokenize", tokenize_body(self.model, text)))

    @property
    def _root(self) -> str:
        return self._url.removesuffix("/completions").removesuffix("/completion").removesuffix("/v1")

    async def _facts(self) -> ServerFacts:
        """What the server says of itself; each question is one that others do not know."""
        interface = self._url.removesuffix("/completions")
        facts = facts_of(self.model, models := await self._connection.fact(f"{interface}/models"))
        for name in ("props", "info"):
            if facts.context_len is None:
                facts = facts_of(self.model, models, **{name: await self._connection.fact(f"{self._root}/{name}")})
        return facts

    async def _met_llama_cpp(self) -> bool:
        """Whether llama.cpp's own interface takes ids; what it tells of the settings in force says what it heeds."""
        url, ids = f"{self._root}/completion", self.tokenizer.encode(_PROBE_TEXT) if self._knows_ids else []
        params = SamplingParams(max_new_tokens=1, temperature=0.5, top_k=7, min_p=0.25, repetition_penalty=1.125)
        body = llama_cpp_body(ids or _PROBE_TEXT, params, 5, [], self.context_len or params.context_len)
        try:
            reader = await self._probed(url, body)
        except RemoteError:  # it calls itself so, and is not: what the first probe saw holds
            return False
        if reader is None:
            return False
        ids_in = bool(ids) and reader.prompt_len == len(ids)
        sampling = heeded(body, reader.settings)
        self._url = url
        self.capabilities = Capabilities(ids_in=ids_in, ids_out=False, logprobs=False, sampling=sampling)
        return True

    async def _probe(self, url: str) -> Capabilities:
        """Ask for what the richest server gives, then for less; the answer decides, not the status alone."""
        ids = self.tokenizer.encode(_PROBE_TEXT) if self._knows_ids else []
        ids_in = False
        if ids:
            reader = await self._probed(url, full_probe(self.model, ids))
            if reader is not None and reader.saw_ids:
                sampling = frozenset({"seed", "top_k", "min_p", "repetition_penalty"})
                return Capabilities(ids_in=True, ids_out=True, logprobs=reader.saw_logprobs, sampling=sampling)
            ids_in = reader is not None and len(ids) > 2 and reader.prompt_len == len(ids)
        # A server that heeds top_k=1 says the same twice at a temperature where others babble.
        first, second = [await self._probed(url, text_probe(self.model, seed=seed)) for seed in (1, 2)]
        sampling = frozenset()
        if first is None or second is None:
            await self._connection.ask(url, text_probe(self.model), CompletionReader(Emitter(), ids_out=False))
        elif first.text == second.text != "":
            sampling = frozenset({"top_k", "min_p", "repetition_penalty"})
        return Capabilities(ids_in=ids_in, ids_out=False, logprobs=False, sampling=sampling)

    async def _probed(self, url: str, body: dict[str, Any]) -> CompletionReader | None:
        """The reader after a probe, or ``None`` where the server refuses or fails at this kind of request."""
        reader = CompletionReader(Emitter(), ids_out=False)
        try:
            await self._connection.ask(url, body, reader)
        except RemoteBusy:
            raise
        except RemoteError as error:
            if not (isinstance(error, RemoteLacks) or reader.begun or (error.status or 0) >= 500):
                raise
            return None
        return reader
