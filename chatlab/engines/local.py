"""A model in this process: one worker thread, one step at a time, each request for itself."""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, Literal

import torch
from transformers import DynamicCache

from chatlab.engines.cache import cache_parameter, growing_cache, is_recurrent
from chatlab.engines.crowding import warn_of_crowding
from chatlab.engines.device import on_device
from chatlab.engines.engine import (
    Cancelled,
    Emitter,
    Engine,
    FinishReason,
    Scores,
    TokenStream,
    check_prompt,
    never,
    pick_seed,
    release_left_lock,
)
from chatlab.engines.kept import kept_caches
from chatlab.engines.load import check_model, end_ids
from chatlab.engines.processors import Sampler, score_ids
from chatlab.engines.rows import RowDecoder, lock_of
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import EngineClosed, EngineError
from chatlab.tokenizers.load import as_tokenizer

PREFILL_CHUNK_LEN = 256
"""Prompt tokens a step: short enough that neighbours keep streaming while a long prompt is read."""

AUTO_ROWS = 8
"""Requests of a step at most where their number is left to the engine."""

_ENGINES: weakref.WeakSet[LocalEngine] = weakref.WeakSet()
_ENGINES_LOCK = threading.Lock()

_End = tuple[FinishReason, BaseException | None]


class LocalEngine(Engine):
    """Continue token ids with a transformers model, reproducibly.

    One thread takes turns over the requests: a chunk of a prompt or one token each. Every request has its own KV
    cache and its own random generator, so what others do cannot change its ids (law L6: same ids, seed and
    parameters give the same ids, alone or among others). The thread lives only while there is work.

    With ``decode_rows=8`` one step says a token for up to 8 requests, each still with its own seed: two to three
    times the throughput, and law L6 still holds where :attr:`exact` says so (0 of 1,000 sampled replies changed by
    their neighbours). It is not the default, because a request that is alone takes up to twice as long by it. With
    ``decode_rows="auto"`` a step has as many rows as there are requests, up to 8, and one that is alone is as fast
    as without.

    With ``reuse_prefix=True`` what requests have read is kept when they end, cancelled ones too: up to a gibibyte
    on the model's device (or say how many bytes), the least recently used going first. A prompt that begins as one
    of them did is read from where they part, its last id always, and its stream tells so
    (:attr:`chatlab.engines.engine.TokenStream.prefix`): a conversation is not read anew at each turn. A window that
    is full (Mistral, Gemma) can be gone on from, not cut back. Positions that are scaled by the length
    (``longrope``, ``dynamic``) are kept below the length where that begins. A recurrent model is refused;
    ``"auto"`` reads with it as ever. Weights that change call for :meth:`forget`. Whoever sees how soon a reply
    begins can tell whether a prompt was asked before: give people who must not know that engines of their own.

    **Law L6 with either of the two.** It holds up to rounding: the same ids, read in other steps or beside other
    rows, give logits that differ in their last bits, and where two tokens are as near as that, another one is said
    and the reply goes on otherwise. In float32 that was seen in 0 of 1,000 greedy and 0 of 1,000 sampled replies of
    random models; in 16 bits it is to be expected. :attr:`exact` is ``False`` then.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        device: str | torch.device | None = None,
        *,
        eos_ids: Collection[int] | None = None,
        decode_rows: int | Literal["auto"] = 1,
        prefill_chunk_len: int = PREFILL_CHUNK_LEN,
        torch_threads: int | None = None,
        reuse_prefix: bool | int | Literal["auto"] = False,
    ) -> None:
        """Take a model; it is put in evaluation mode.

        Args:
            model: a causal language model of transformers.
            tokenizer: its tokenizer, for callers who come with text.
            device: ``cpu``, ``cuda`` or ``mps``; the model is moved there. Left out, it stays where it is.
            eos_ids: ids that end a reply; left out, the model's generation config says.
            decode_rows: requests of one step; 1 takes each alone, ``"auto"`` as many as there are, up to 8, where the
                model can.
            prefill_chunk_len: prompt tokens a step; a recurrent model, such as Mamba, reads a prompt as a whole.
            torch_threads: threads of one operation, for the whole process; left out, torch's own setting stays. Engines
                that work at once should share the cores: 1 each where there are as many engines.
            reuse_prefix: keep what requests have read, and do not read it again; a number is how many bytes at most,
                ``True`` 2**30; ``"auto"`` is ``True`` where the model can.

        Raises:
            EngineError: ``model`` is none; it takes no cache of a request's own, or one that cannot be cut back to a
                prefix, or cannot be decoded in rows; a number is below 1; or there is no such device.
        """
        for name, number in (
            ("decode_rows", None if decode_rows == "auto" else decode_rows),
            ("prefill_chunk_len", prefill_chunk_len),
            ("torch_threads", torch_threads),
        ):
            if number is not None and (type(number) is not int or number < 1):
                raise EngineError(f"{name} must be a whole number of 1 or more, not {number!r}")
        check_model(model, "LocalEngine")
        self.model = (model if device is None else on_device(model, device)).eval()
        self.device = self.model.device
        self.tokenizer = None if tokenizer is None else as_tokenizer(tokenizer)
        self.eos_ids = end_ids(model, tokenizer) if eos_ids is None else frozenset(eos_ids)
        self.context_len = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.vocab_len: int = model.get_input_embeddings().num_embeddings
        self._cache_parameter = cache_parameter(self.model)
        self._rows = _rows_for(self.model, decode_rows)
        self._kept = kept_caches(self.model, reuse_prefix)
        self.exact = self._kept is None and (self._rows is None or self._rows.exact)
        """Whether law L6 holds to the last bit on this machine."""
        self._prefill_chunk_len = sys.maxsize if is_recurrent(model) else prefill_chunk_len
        self._torch_threads = torch_threads
        self._takes_logits_to_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._model_lock = lock_of(self.model)
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._worker = threading.Thread()
        self._working = False
        self._closed = False
        self._threads: int | None = None
        with _ENGINES_LOCK:
            _ENGINES.add(self)

    can_score = True

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin a request; see :meth:`chatlab.engines.engine.Engine.submit`.

        Warns:
            CrowdedThreadsWarning: other engines work too, with more threads together than there are cores.
        """
        params = params or SamplingParams()
        context_len = min(params.context_len, self.context_len or params.context_len)
        token_ids = check_prompt(prompt_ids, vocab_len=self.vocab_len, context_len=context_len)
        seed = pick_seed(params, seed)
        max_len = min(context_len, len(token_ids) + params.max_new_tokens)
        if not self._working:
            self._warn_of_crowding()
        request = _Request(self, token_ids, params, seed, max_len)
        with self._lock:
            if self._closed:
                raise EngineClosed("this LocalEngine was closed: build a new one around the same model")
            if not self._working:
                self._worker = threading.Thread(target=self._work, name="chatlab-local-engine", daemon=True)
                self._worker.start()  # it waits for the lock; should it not start, nothing waits for it
                self._working = True
            self._requests.append(request)
        return TokenStream(request.emitter, prompt_len=len(token_ids), seed=seed)

    @property
    def active_len(self) -> int:
        """How many requests have not ended."""
        with self._lock:
            return len(self._requests)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no request and no thread is left; tell whether that came within ``timeout`` seconds."""
        with self._lock:
            worker = self._worker
        if worker.ident is not None:
            worker.join(timeout)
        return not worker.is_alive()

    @property
    def kept_bytes(self) -> int:
        """Bytes of what ended requests have read and is kept; 0 without ``reuse_prefix``."""
        return 0 if self._kept is None else self._kept.size

    def forget(self) -> None:
        """Forget what ended requests have read, as after a change of the model's weights."""
        if self._kept is not None:
            self._kept = self._kept.emptied()

    def close(self) -> None:
        """Cancel what runs, wait for the worker, forget, and take no more requests. The model stays."""
        with self._lock:
            self._closed = True
            for request in self._requests:
                request.emitter.cancel()
        if self._worker is not threading.current_thread():
            self.wait_idle()
        self.forget()

    def after_fork(self) -> None:
        """Forget the worker and its requests, which live in the parent; torch's threads do not live here either."""
        for lock in (_ENGINES_LOCK, self._lock, self._model_lock):
            release_left_lock(lock)
        requests, self._requests, self._working = self._requests, [], False
        self._worker = threading.Thread()
        torch.set_num_threads(1)
        self._torch_threads = 1
        self.forget()  # the worker may have been at it
        for request in requests:
            request.emitter.leave_behind()

    def score(self, token_ids: Sequence[int], *, top_len: int = 0, cancelled: Cancelled = never) -> Scores | None:
        """How likely the model finds ids; read in the caller's thread, in turn with what runs."""
        room = (self.context_len or len(token_ids)) + 1
        ids, cache = (
            check_prompt(token_ids, vocab_len=self.vocab_len, context_len=room),
            growing_cache(self.model.config),
        )
        return score_ids(
            lambda chunk: self._logits(torch.tensor([chunk], device=self.device), cache, len(chunk))[0],
            *(ids, top_len, self._prefill_chunk_len, cancelled),
        )

    def forward(self, token_ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Logits after the last of ``token_ids`` (1, tokens), float32, shape (1, vocabulary); ``cache`` grows."""
        return self._logits(token_ids, cache, 1)[:, -1]

    def _logits(self, token_ids: torch.Tensor, cache: DynamicCache, length: int) -> torch.Tensor:
        """Logits after the last ``length`` ids, shape (1, length, vocabulary)."""
        options = {"logits_to_keep": length} if self._takes_logits_to_keep else {}
        inputs = {"input_ids": token_ids, self._cache_parameter: cache}
        with self._model_lock:
            outputs = self.model(**inputs, use_cache=True, return_dict=True, **options)
        logits: torch.Tensor = outputs.logits[:, -length:].float()
        return logits

    def _work(self) -> None:
        """Take turns until no request is left; a fault of the worker's own ends them all, and the next one begins anew."""
        try:
            self._take_turns()
        except BaseException as error:
            with self._lock:
                requests, self._requests, self._working = self._requests, [], False
            for request in requests:
                request.emitter.end("error", error)

    @torch.inference_mode()
    def _take_turns(self) -> None:
        if self._torch_threads is not None:
            torch.set_num_threads(self._torch_threads)
        self._threads = torch.get_num_threads()
        while True:
            with self._lock:
                requests = list(self._requests)
                if not requests:
                    self._working = False
                    return
            if self._rows is None:
                turns = [[request] for request in requests]
            else:
                saying = [request for request in requests if request.says]
                turns = [[request] for request in requests if not request.says]
                turns += [saying[i : i + self._rows.row_len] for i in range(0, len(saying), self._rows.row_len)]
            for turn in turns:
                self._take_turn(turn)

    def _warn_of_crowding(self) -> None:
        with _ENGINES_LOCK:
            others = [engine for engine in _ENGINES if engine is not self and engine._working]
        threads = [
            engine._torch_threads or engine._threads or torch.get_num_threads()
            for engine in (self, *others)
            if engine.device.type == "cpu"
        ]
        warn_of_crowding(threads, stacklevel=3)

    def _take_turn(self, turn: list[_Request]) -> None:
        """One step of the requests in ``turn``; whatever it raises belongs to them, not to this thread."""
        ends: dict[_Request, _End] = {r: ("cancelled", None) for r in turn if r.emitter.cancelled}
        running = [request for request in turn if request not in ends]
        try:
            if self._rows is not None and running and running[0].says and (self._rows.fixed or len(running) > 1):
                rows = self._rows.step(*zip(*(request.next_input() for request in running), strict=True))
                logits: list[tuple[_Request, torch.Tensor | None]]
                logits = [(request, rows[i : i + 1]) for i, request in enumerate(running)]
            else:
                logits = [(request, request.read(self._prefill_chunk_len)) for request in running]
        except BaseException as error:
            ends |= {request: ("error", error) for request in running}
            logits = []
        for request, after in logits:
            try:
                reason = None if after is None else request.say(after)
            except BaseException as error:
                ends[request] = "error", error
            else:
                if reason is not None:
                    ends[request] = reason, None
        for request, end in ends.items():
            if self._kept is not None and end[0] != "error":
                self._kept.keep(*request.read_so_far())  # before the end is told: a next turn may come at once
            with self._lock:
                self._requests.remove(request)
            request.emitter.end(*end)  # last, so that whoever sees the end sees an idle engine


class _Request:
    """One generation: what was read, what was said, and how to say the next token."""

    def __init__(
        self, engine: LocalEngine, prompt_ids: list[int], params: SamplingParams, seed: int, max_len: int
    ) -> None:
        self.emitter = Emitter()
        self._engine = engine
        self._stop_ids = frozenset(params.stop_ids)
        self._sampler = Sampler(params, seed, engine.device)
        self._cache: DynamicCache | None = None
        self._token_ids = torch.empty((1, max_len), dtype=torch.long, device=engine.device)
        self._token_ids[0, : len(prompt_ids)] = torch.tensor(prompt_ids)
        self._prompt_len = self._len = len(prompt_ids)
        self._read_len = 0
        self._max_len = max_len

    @property
    def says(self) -> bool:
        """Whether the prompt is read, so that each step is one token."""
        return self._len > self._prompt_len

    def next_input(self) -> tuple[int, int, DynamicCache]:
        """The token to read next, its position, and the cache it goes to."""
        position, self._read_len = self._read_len, self._len
        assert self._cache is not None  # a request that says has read its prompt
        return int(self._token_ids[0, position]), position, self._cache

    def read(self, chunk_len: int) -> torch.Tensor | None:
        """Read one chunk; the logits after it when all is read."""
        if self._cache is None:
            self._begin()
        until = min(self._len, self._read_len + chunk_len)
        logits = self._engine.forward(self._token_ids[:, self._read_len : until], self._cache)
        self._read_len = until
        return logits if until == self._len else None

    def read_so_far(self) -> tuple[list[int], DynamicCache | None]:
        """The ids that the cache has read, and the cache."""
        return self._token_ids[0, : self._read_len].tolist(), self._cache

    def _begin(self) -> None:
        """Have a cache, which may have read a part of the prompt already."""
        if (kept := self._engine._kept) is None:
            self._cache = growing_cache(self._engine.model.config)
        else:
            self._cache, self.emitter.prefix = kept.begin(self._token_ids[0, : self._prompt_len].tolist())
            self._read_len = self.emitter.prefix.kept_len

    def say(self, logits: torch.Tensor) -> FinishReason | None:
        """Choose and deliver the next token; tell why it was the last one, if it was."""
        token_id = self._sampler.choose(logits, self._token_ids[:, : self._len])
        self.emitter.token(token_id, *self._sampler.logprobs(logits, token_id))
        self._token_ids[0, self._len] = token_id
        self._len += 1
        if token_id in self._engine.eos_ids:
            return "eos"
        if token_id in self._stop_ids:
            return "stop"
        return "length" if self._len == self._max_len else None


def _rows_for(model: Any, decode_rows: int | Literal["auto"]) -> RowDecoder | None:
    """What takes several requests in a step, where it was asked for."""
    if decode_rows == "auto":
        with suppress(EngineError):
            return RowDecoder(model, AUTO_ROWS, fixed=False)
        return None
    return RowDecoder(model, decode_rows) if decode_rows > 1 else None
