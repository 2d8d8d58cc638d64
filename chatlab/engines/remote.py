"""A model behind an OpenAI-compatible server: the road for models that outgrow one machine."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
import weakref
from collections.abc import Coroutine, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from chatlab.engines.dialects.capabilities import Capabilities
from chatlab.engines.dialects.completions import CompletionReader, completion_body, full_probe, text_probe
from chatlab.engines.dialects.server_text import server_text, text_of_stop
from chatlab.engines.engine import Emitter, Engine, TokenStream, check_prompt, pick_seed
from chatlab.engines.sampling import SamplingParams
from chatlab.engines.scripted import CodePointTokenizer
from chatlab.errors import EngineClosed, RemoteBusy, RemoteCut, RemoteError, RemoteLacks
from chatlab.tokenizers.load import as_tokenizer

MAX_EVENT_BYTES = 1_000_000
MAX_WAIT_S = 30.0


class RemoteEngine(Engine):
    """Continue a prompt on a server with the ``/v1/completions`` interface, such as vLLM, llama.cpp or transformers serve.

    At connect it asks for a few tokens and looks at what really comes back (:attr:`capabilities`). With ids in and
    out (vLLM) a reply is as well known as a local one. A server that speaks text gets the prompt's own text and gives
    :class:`chatlab.engines.engine.TextEvent`; whatever needs ids is then refused instead of guessed.

    What becomes of a text is the server's affair. It is taken to encode with special tokens, as transformers serve
    and llama.cpp do: where ``tokenizer`` adds a BOS by itself, one that leads the text is left out, since the server
    puts its own there; if it then still reads other ids than those encoded here, a
    :class:`chatlab.engines.dialects.server_text.RereadWarning` names the first. Ids given to :meth:`submit` alone go as text
    only where that text is read as those ids. Without ``tokenizer`` nothing is left out or known. A message may spell
    a control token there, against law L8: a :class:`chatlab.engines.dialects.server_text.ServerTextWarning` names it. The reply
    is the text as the server decodes it: transformers serve leaves out a blank that leads one.

    Nothing is ever cut short in silence: a stream without its mark of an end raises ``RemoteCut``. A busy server is
    asked again, as it wishes, only while no token has come. Proxies of the environment are not used and redirects
    not followed. Close it, or let it go: its thread and connections end with it.
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
        transport: Any = None,
    ) -> None:
        """Connect and probe.

        Args:
            base_url: such as ``http://127.0.0.1:8000/v1``; only ``http`` and ``https``.
            model: the model's name on the server.
            tokenizer: the model's tokenizer; without one the prompt goes as text and ids are characters.
            api_key: sent as bearer token; never shown in messages.
            timeout: seconds without a byte after which the server counts as gone.
            retries: how often a busy or failing server is asked again before the first token.
            transport: of ``httpx2``, for tests.

        Raises:
            RemoteError: the address is malformed, or nothing there answers like a completions server.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise RemoteError(f"base_url must be http(s)://host[:port]/v1, without a user in it, not {base_url!r}")
        self.model = model
        self.tokenizer = CodePointTokenizer() if tokenizer is None else as_tokenizer(tokenizer)
        self._knows_ids = tokenizer is not None
        self._url = base_url.rstrip("/") + "/completions"
        self._retries = retries
        self._client_options = {
            "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
            "timeout": httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
            "trust_env": False,
            "follow_redirects": False,
            "transport": transport,
        }
        self._lock = threading.Lock()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=[self._loop], name="chatlab-remote-engine", daemon=True)
        self._thread.start()
        try:
            self._client = self._wait(self._connect())
            self.capabilities = self._wait(self._probe())
        except BaseException:
            self.close()
            raise
        self._drop = weakref.finalize(self, _disconnect_soon, self._loop, self._client)
        self._drop.atexit = False  # at the exit the engine is closed, as all are

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

    def _submit(
        self, text: str | None, prompt_ids: Sequence[int], params: SamplingParams | None, seed: int | None
    ) -> TokenStream:
        params = params or SamplingParams()
        asked_seed = params.seed if seed is None else seed
        self._check(params, asked_seed)
        context_len = params.context_len if self._knows_ids else sys.maxsize  # characters are no measure of it
        token_ids = check_prompt(prompt_ids, vocab_len=self.tokenizer.vocab_len, context_len=context_len)
        used_seed = pick_seed(params, seed) if "seed" in self.capabilities.sampling else None
        prompt: list[int] | str = token_ids
        if self.reads_text:
            prompt = server_text(text, token_ids, self.tokenizer)
        stops = [text_of_stop(i, self.tokenizer) for i in params.stop_ids] if self.reads_text else []
        body = completion_body(self.model, prompt, params, used_seed, self.capabilities, stops)
        holder: list[asyncio.Task[None]] = []
        emitter = Emitter(wake=lambda: self._cancel(holder))
        with self._lock:
            if self._closed:
                raise EngineClosed("this RemoteEngine was closed: connect again")
            asyncio.run_coroutine_threadsafe(self._begin(holder, self._run(body, emitter)), self._loop).result()
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
        self._wait(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if hasattr(self, "_drop"):
            self._drop.detach()

    def _check(self, params: SamplingParams, seed: int | None) -> None:
        """Refuse what the server was not seen to give."""
        can = self.capabilities
        lacks = []
        if params.logprobs is not None and not (can.logprobs and can.ids_out):
            lacks.append("log probabilities")
        if seed is not None and not params.greedy and "seed" not in can.sampling:
            lacks.append("a seed")
        # 50 is what SamplingParams says when nobody chose; a server without top-k then uses its own rule.
        if params.top_k != 50 and "top_k" not in can.sampling and not params.greedy:
            lacks.append("top_k")
        lacks += [
            n for n in ("min_p", "repetition_penalty") if getattr(params, n) is not None and n not in can.sampling
        ]
        if params.repetition_penalty is not None and params.repetition_penalty_method == "additive":
            lacks.append("an additive repetition penalty")
        if lacks:
            raise RemoteLacks(
                f"{self.model} at {self._url} was not seen to heed {', '.join(lacks)}: leave it out, or use a LocalEngine"
            )

    async def _connect(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**self._client_options)

    async def _disconnect(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(self, "_client"):
            await self._client.aclose()

    async def _begin(self, holder: list[asyncio.Task[None]], run: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(run)
        holder.append(task)
        self._tasks.add(task)

    def _cancel(self, holder: list[asyncio.Task[None]]) -> None:
        if holder and not holder[0].done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(holder[0].cancel)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _run(self, body: dict[str, Any], emitter: Emitter) -> None:
        end: tuple[Any, BaseException | None]
        try:
            reader = CompletionReader(emitter, ids_out=self.capabilities.ids_out)
            await self._ask(body, reader)
            end = reader.finish_reason, None
        except asyncio.CancelledError:
            end = "cancelled", None
        except BaseException as error:
            end = "error", error
        task = asyncio.current_task()
        assert task is not None
        self._tasks.discard(task)
        emitter.end(*end)

    async def _ask(self, body: dict[str, Any], reader: CompletionReader) -> None:
        """One request, asked again while it is refused and no token has come."""
        for attempt in range(self._retries + 1):
            try:
                return await self._stream(body, reader)
            except RemoteBusy as busy:
                if attempt == self._retries or (busy.retry_after or 0.0) > MAX_WAIT_S:
                    raise
                await asyncio.sleep(0.5 * 2**attempt if busy.retry_after is None else busy.retry_after)

    async def _stream(self, body: dict[str, Any], reader: CompletionReader) -> None:
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                if response.status_code != 200:
                    raise await _refusal(response)
                async for event in httpx2.EventSource(response, max_event_size=MAX_EVENT_BYTES):
                    reader.put(event.data)
        except httpx2.HTTPError as error:
            what = f"{type(error).__name__}: {error}"
            if reader.begun:
                raise RemoteCut(f"{self._url} broke off after {reader.taken} pieces of the reply: {what}") from error
            raise RemoteError(f"{self._url} could not be asked: {what}") from error
        reader.flush()

    async def _probe(self) -> Capabilities:
        """Ask for what the richest server gives, then for less; the answer decides, not the status alone."""
        ids = self.tokenizer.encode("Hello") if self._knows_ids else []
        if ids:
            reader = await self._probed(full_probe(self.model, ids))
            if reader is not None and reader.saw_ids:
                sampling = frozenset({"seed", "top_k", "min_p", "repetition_penalty"})
                return Capabilities(ids_in=True, ids_out=True, logprobs=reader.saw_logprobs, sampling=sampling)
        # A server that heeds top_k=1 says the same twice at a temperature where others babble.
        first, second = [await self._probed(text_probe(self.model, seed=seed)) for seed in (1, 2)]
        sampling = frozenset()
        if first is not None and second is not None:
            if first.text == second.text != "":
                sampling = frozenset({"top_k", "min_p", "repetition_penalty"})
        elif await self._probed(text_probe(self.model)) is None:
            raise RemoteError(f"{self._url} answered no completion request for {self.model!r}")
        return Capabilities(ids_in=False, ids_out=False, logprobs=False, sampling=sampling)

    async def _probed(self, body: dict[str, Any]) -> CompletionReader | None:
        """The reader after a probe, or ``None`` where the server refuses this kind of request."""
        reader = CompletionReader(Emitter(), ids_out=False)
        try:
            await self._ask(body, reader)
        except RemoteLacks:
            return None
        return reader


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The thread of an engine: it knows the loop alone, so that it holds no engine that everyone has let go."""
    try:
        loop.run_forever()
    finally:
        loop.close()


def _disconnect_soon(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> None:
    """End the thread of an engine that is gone; any thread may collect it, that one too, so nothing waits."""

    async def disconnect() -> None:
        try:
            await client.aclose()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(disconnect(), loop)


async def _refusal(response: httpx2.Response) -> RemoteError:
    """The typed error of a status other than 200; the server's own words are kept short."""
    words = (await response.aread())[:500].decode("utf-8", "replace").strip()
    status = response.status_code
    if status in (429, 502, 503, 504):
        retry_after = _retry_after(response.headers.get("retry-after"))
        return RemoteBusy(f"the server is busy ({status}): {words}", retry_after=retry_after)
    kind = RemoteLacks if status in (400, 422) else RemoteError
    return kind(f"the server refused ({status}): {words}")


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        # "-0000" is UTC of an unknown zone, and comes without one.
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None
