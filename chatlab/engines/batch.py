"""Many requests at once, through transformers' continuous batching, wrapped against what brings it down."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.requests import RequestStatus

from chatlab.engines.cache import is_recurrent
from chatlab.engines.device import on_device
from chatlab.engines.engine import Emitter, Engine, FinishReason, TokenStream, check_prompt
from chatlab.engines.load import check_model, end_ids
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import ContextLengthError, EngineClosed, EngineError, GenerationError
from chatlab.tokenizers.load import as_tokenizer

POLL_S = 0.02
"""How long the reader waits for a result before it looks after cancels and the worker's health."""
_SCOPE: dict[str, Literal["request", "engine", "nowhere"]] = {
    "temperature": "request",
    "top_k": "request",
    "top_p": "request",
    "min_p": "engine",
    "repetition_penalty": "nowhere",
    "seed": "nowhere",
    "logprobs": "nowhere",
}
"""What continuous batching heeds: a request's own value, one for the whole engine, or none."""
_LEFT: list[Any] = []
_WIDE = [name for name, scope in _SCOPE.items() if scope != "nowhere"]


class BatchEngine(Engine):
    """Continue many token ids in one batch: the fastest engine from two requests on.

    **Sampling depends on the batch.** A drawn reply depends on its neighbours and has no seed of its own; ask
    :class:`chatlab.engines.local.LocalEngine` for replies that repeat (its ``decode_rows`` batches, too).
    Greedy ids are those of ``generate`` up to rounding (0 of 1,000 replies differed in float32).

    The cache has a fixed size, where transformers would take most of the machine's memory. Requests are checked
    before they enter, because an empty, too long or doubly named one ends transformers' worker and everyone's
    requests with it. A cancelled request gets its end here, because there it gets none. A worker that dies or
    stalls ends its requests with an error and is replaced. The engine holds a thread and its cache until ``close``,
    and the model is its own as long: another use at the same time changes what both get.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        device: str | torch.device | None = None,
        *,
        params: SamplingParams | None = None,
        cache_len: int = 16_384,
        max_batch_tokens: int = 256,
        eos_ids: Collection[int] | None = None,
        stall_s: float = 60.0,
    ) -> None:
        """Take a model; the worker starts with the first request.

        Args:
            model: a causal language model of transformers.
            tokenizer: its tokenizer, for callers who come with text.
            device: where to move the model; left out, it stays where it is.
            params: one temperature, top-k, top-p and min-p for all requests, which is faster; left out, the first
                three are each request's own.
            cache_len: tokens of all requests together that the cache holds; it takes
                ``2 * layers * KV heads * head size * bytes a number`` a token.
            max_batch_tokens: tokens of one step at most, prompts included.
            eos_ids: ids that end a reply; left out, the model's generation config says.
            stall_s: seconds without any result after which the worker counts as hung.

        Raises:
            EngineError: ``params`` asks for what continuous batching cannot do: a repetition penalty, a seed or log
                probabilities; the model is recurrent; or there is no such device.
        """
        if params is not None and (lacks := _asked(params, params.seed, "nowhere")):
            raise EngineError(
                f"a BatchEngine cannot heed {', '.join(lacks)}: leave it out of params, or use a LocalEngine "
                "(decode_rows=8 batches there, too)"
            )
        check_model(model, "BatchEngine")
        if is_recurrent(model):
            raise EngineError(
                f"continuous batching has no cache for a recurrent model such as {type(model).__name__}: use a LocalEngine"
            )
        self.model = (model if device is None else on_device(model, device)).eval()
        self.tokenizer = None if tokenizer is None else as_tokenizer(tokenizer)
        self.eos_ids = end_ids(model, tokenizer) if eos_ids is None else frozenset(eos_ids)
        self.context_len = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.vocab_len: int = model.get_input_embeddings().num_embeddings
        self.cache_len = cache_len
        self._params = params
        self._page_len = 64
        self._max_batch_tokens, self._stall_s = max_batch_tokens, stall_s
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._requests: dict[str, _Request] = {}
        self._cancels: deque[str] = deque()
        self._manager: Any = None
        self._reader: threading.Thread | None = None
        self._closed = False

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams | None = None, *, seed: int | None = None
    ) -> TokenStream:
        """Begin a request; see :meth:`chatlab.engines.engine.Engine.submit`.

        Raises:
            EngineError: it asks for what continuous batching cannot do: a seed, log probabilities, min-p or a
                repetition penalty of its own, or another sampling than the engine's.
        """
        params = params or self._params or SamplingParams()
        options = self._options(params, params.seed if seed is None else seed)
        context_len = min(params.context_len, self.context_len or params.context_len)
        token_ids = check_prompt(prompt_ids, vocab_len=self.vocab_len, context_len=context_len)
        max_new_tokens = min(params.max_new_tokens, context_len - len(token_ids))
        if len(token_ids) + max_new_tokens > self.cache_len:
            raise ContextLengthError(
                f"{len(token_ids)} prompt tokens and {max_new_tokens} new ones do not fit a cache of {self.cache_len}: "
                "build the engine with a larger cache_len"
            )
        name = f"chatlab-{next(self._numbers)}"
        emitter = Emitter(wake=lambda: self._cancels.append(name))
        end = sorted(self.eos_ids | set(params.stop_ids)) or [-1]
        with self._lock:
            if self._closed:
                raise EngineClosed("this BatchEngine was closed: build a new one around the same model")
            self._start()
            self._requests[name] = _Request(emitter, self.eos_ids, frozenset(params.stop_ids))
            accepted = self._manager.add_request(
                token_ids, name, max_new_tokens=max_new_tokens, streaming=True, eos_token_id=end, **options
            )
            if accepted is None:
                del self._requests[name]
                raise GenerationError("the worker of continuous batching died as the request came: submit it again")
        return TokenStream(emitter, prompt_len=len(token_ids), seed=None)

    @property
    def active_len(self) -> int:
        """How many requests have not ended."""
        with self._lock:
            return len(self._requests)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no request is left; tell whether that came within ``timeout`` seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while self.active_len and time.monotonic() < deadline:
            time.sleep(POLL_S / 4)
        return not self.active_len

    def close(self) -> None:
        """Cancel what runs, stop the worker, give the cache back, and take no more requests. The model stays."""
        with self._lock:
            self._closed = True
            self._end_all("cancelled")
            manager, reader, self._manager = self._manager, self._reader, None
        if reader is not None and reader is not threading.current_thread():
            reader.join()
        if manager is not None:
            manager.stop(hard_stop=True, timeout=self._stall_s)

    def after_fork(self) -> None:
        """Leave the worker, its reader and their requests to the parent; the next request begins anew."""
        self._lock = threading.RLock()  # the parent's reader may hold the other one, and does not live here
        torch.set_num_threads(1)
        requests, self._requests = list(self._requests.values()), {}
        _LEFT.append(self._manager)  # to collect it would stop what does not run here
        self._manager = self._reader = None
        self._cancels.clear()
        for request in requests:
            request.emitter.leave_behind()

    def _options(self, params: SamplingParams, seed: int | None) -> dict[str, Any]:
        """What a request says about sampling, when the engine can do it."""
        lacks = _asked(params, seed, "nowhere")
        if self._params is not None:
            lacks += [name for name in _WIDE if getattr(params, name) != getattr(self._params, name)]
        else:
            lacks += _asked(params, seed, "engine")
        if lacks:
            wide = (
                "build the engine with params=SamplingParams(...) for all requests, "
                if set(lacks) <= set(_WIDE)
                else ""
            )
            raise EngineError(
                f"a BatchEngine cannot give a request its own {', '.join(lacks)}: leave it out, {wide}or use a "
                "LocalEngine (decode_rows=8 batches there, too)"
            )
        if self._params is not None:
            return {}
        if params.greedy:
            return {"temperature": 1.0, "top_k": 1, "top_p": 1.0}
        return {"temperature": params.temperature, "top_k": params.top_k or self.vocab_len, "top_p": params.top_p}

    def _start(self) -> None:
        """Have a worker and its reader, new ones if the last worker died."""
        if self._manager is None:
            self._manager = self._new_manager()
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="chatlab-batch-engine", daemon=True)
            self._reader.start()

    def _new_manager(self) -> Any:
        params = self._params
        # Per-request processors exist only where the engine-wide value is not the neutral one.
        sampling = {"temperature": 0.99, "top_k": 50, "top_p": 0.99}
        if params is not None:
            sampling = {n: getattr(params, n) for n in _WIDE if getattr(params, n) is not None}
        greedy = params is not None and params.greedy
        generation = GenerationConfig(
            do_sample=not greedy, eos_token_id=-1, pad_token_id=0, **({} if greedy else sampling)
        )
        batching = ContinuousBatchingConfig(
            page_size=self._page_len,
            num_blocks=math.ceil(self.cache_len / self._page_len) + 1,
            max_batch_tokens=self._max_batch_tokens,
            per_request_processors=params is None,
            drop_unsupported_processors=False,
        )
        manager = self.model.init_continuous_batching(generation, batching)
        manager.start()
        return manager

    def _read(self) -> None:
        """Hand results to their requests, cancel what was cancelled, and watch the worker."""
        heard = time.monotonic()
        while (manager := self._manager) is not None:
            output = manager.get_result(timeout=POLL_S)
            with self._lock:
                if self._closed:
                    return
                if output is not None or not self._requests or manager.batch_processor is None:  # it is still starting
                    heard = time.monotonic()
                if output is not None:
                    self._deliver(output)
                self._cancel()
                dead = output is None and not manager.is_running()
                if dead or time.monotonic() - heard > self._stall_s:
                    self._replace(manager, "died" if dead else f"gave nothing for {self._stall_s} s")
                    heard = time.monotonic()

    def _deliver(self, output: Any) -> None:
        request = self._requests.get(output.request_id)
        if request is None:
            return  # cancelled: what was under way is not delivered
        request.take(output.generated_tokens)
        if output.is_finished():
            del self._requests[output.request_id]
            if output.status is RequestStatus.FAILED:
                request.emitter.end("error", GenerationError(f"continuous batching failed: {output.error}"))
            else:
                request.emitter.end(request.finish_reason())

    def _cancel(self) -> None:
        while self._cancels:
            name = self._cancels.popleft()
            if (request := self._requests.pop(name, None)) is not None:
                self._manager.cancel_request(name)
                request.emitter.end("cancelled")

    def _replace(self, manager: Any, why: str) -> None:
        cause = manager.background_thread_status.fatal_error
        error = GenerationError(f"the worker of continuous batching {why} and was replaced: submit the request again")
        error.__cause__ = cause
        self._end_all("error", error)
        # A hung worker cannot be ended from outside; it is told to stop and left behind.
        manager.stop(block=False, hard_stop=True)
        self._manager = self._new_manager()

    def _end_all(self, reason: FinishReason, error: EngineError | None = None) -> None:
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            request.emitter.end(reason, error)


class _Request:
    """One request as the reader sees it: results repeat all ids so far, events do not."""

    def __init__(self, emitter: Emitter, eos_ids: frozenset[int], stop_ids: frozenset[int]) -> None:
        self.emitter = emitter
        self._eos_ids, self._stop_ids = eos_ids, stop_ids
        self._last_id = -1

    def take(self, token_ids: list[int]) -> None:
        for token_id in token_ids[self.emitter.token_len :]:
            self._last_id = token_id
            self.emitter.token(token_id)

    def finish_reason(self) -> FinishReason:
        if self._last_id in self._eos_ids:
            return "eos"
        return "stop" if self._last_id in self._stop_ids else "length"


def _asked(params: SamplingParams, seed: int | None, scope: str) -> list[str]:
    """The options of a scope that are asked for; a greedy reply needs no seed."""
    given = params.to_dict() | {"seed": None if params.greedy else seed}
    return [name for name, its in _SCOPE.items() if its == scope and given[name] is not None]
