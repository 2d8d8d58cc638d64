"""Who does the work: this process, or any executor; a worker that dies takes no more than its own task along."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from typing import Any

from chatlab.errors import SweepError
from chatlab.sweeps.keys import Planned
from chatlab.sweeps.work import Answer, alone, compute_elsewhere

Answered = tuple[Planned, Answer]

_DEATHS = {"KilledWorker", "TerminatedWorkerError"}
"""What Dask and loky say of a worker that died, by name: neither need be installed."""


def answered(work: Sequence[Planned], executor: Executor | None, versions: Mapping[str, Any]) -> Generator[Answered]:
    """Yield each task with its answer, as they come."""
    if executor is None:
        yield from ((one, alone(one, versions)) for one in work)
        return
    with closing(_Crew(executor, versions).work(work)) as found:
        yield from found


class _Crew:
    """Keeps an executor busy, replaces it where it broke, and finds the task that broke it."""

    def __init__(self, executor: Executor, versions: Mapping[str, Any]) -> None:
        self._executor, self._versions = executor, versions
        self._width = 2 * workers_of(executor)
        self._own: Executor | None = None

    def work(self, work: Sequence[Planned]) -> Generator[Answered]:
        waiting, flying = deque(work), dict[Future[Answer], Planned]()
        try:
            while waiting or flying:
                is_broken = not self._fill(waiting, flying)
                suspects = list[Planned]()
                for future in wait(flying, return_when=FIRST_COMPLETED).done if flying else ():
                    one = flying.pop(future)
                    answer = _answer(future)
                    if answer is None:
                        suspects.append(one)
                    else:
                        yield one, answer
                if suspects or is_broken:
                    yield from self._after_a_death(suspects, flying)
        finally:
            for future in flying:
                future.cancel()
            _end(self._own)

    def _fill(self, waiting: deque[Planned], flying: dict[Future[Answer], Planned]) -> bool:
        """Hand out work, little enough that a death leaves few suspects; tell whether it was taken."""
        while waiting and len(flying) < self._width:
            try:
                future = self._submit(self._executor, waiting[0])
            except BrokenExecutor:
                return False
            except RuntimeError as error:
                raise SweepError(f"the executor takes no work: {error}. Give one that is open") from error
            flying[future] = waiting.popleft()
        return True

    def _submit(self, executor: Executor, one: Planned) -> Future[Answer]:
        return executor.submit(compute_elsewhere, one.kind, dict(one.pinned), dict(self._versions))

    def _after_a_death(self, suspects: list[Planned], flying: dict[Future[Answer], Planned]) -> Iterator[Answered]:
        """Do again, one at a time and each beyond reach of the others, what was under way; whoever dies then, did it."""
        if _is_broken(self._executor):
            for future in wait(flying).done:
                one, answer = flying.pop(future), _answer(future)
                if answer is None:
                    suspects.append(one)
                else:
                    yield one, answer
            _end(self._own)
            self._own = self._executor = local_pool(max(1, self._width // 2))
        guard = local_pool(1)
        try:
            for one in suspects:
                future = self._submit(guard, one)
                answer = _answer(future)
                if answer is None:
                    _end(guard)
                    guard = local_pool(1)
                yield one, answer or Answer.fault(_DIED)
        finally:
            _end(guard)


_DIED = SweepError(
    "the process that did this task died, also alone: killed by the system, out of memory, or a crash of a library; "
    "run this task by itself, or leave its files out"
)


def _answer(future: Future[Answer]) -> Answer | None:
    """Return what a worker answered; ``None`` where it died."""
    try:
        return future.result()
    except Exception as error:
        names = {cls.__name__ for cls in type(error).__mro__}
        return None if isinstance(error, BrokenExecutor) or names & _DEATHS else Answer.fault(error)


def _is_broken(executor: Executor) -> bool:
    try:
        executor.submit(int).cancel()
    except BrokenExecutor:
        return True
    return False


def _end(pool: Executor | None) -> None:
    if pool is None:
        return
    with suppress(TypeError):  # loky's own way; the standard library has none before 3.14
        pool.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]
        return
    pool.shutdown(wait=False, cancel_futures=True)


def workers_of(executor: Executor) -> int:
    """Return how many tasks an executor does at once, as far as it tells."""
    count = getattr(executor, "_max_workers", None)
    client = getattr(executor, "_client", None)
    if count is None and client is not None:  # of Dask
        count = sum(client.nthreads().values())
    return count if isinstance(count, int) and count > 0 else 8


def local_pool(count: int) -> Executor:
    """Return processes on this machine: loky's, or the standard library's where loky is not installed."""
    try:
        from loky import ProcessPoolExecutor as Loky  # type: ignore[import-untyped]
    except ImportError:
        return ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    made: Executor = Loky(count)
    return made


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Give so many processes on this machine, ended with the block."""
    if count < 1:
        raise SweepError(f"--jobs is {count}: give 1 or more")
    pool = local_pool(count)
    try:
        yield pool
    finally:
        _end(pool)


@contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """Give the workers of the Dask scheduler at an address.

    Raises:
        SweepError: Dask is not installed, or nothing answers there.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise SweepError("--dask needs Dask: pip install 'chatlab-research[sweep]'") from error
    try:
        client: Any = Client(address, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise SweepError(
            f"no Dask scheduler answers at {address!r:.200}: {error}. Start `dask scheduler` there"
        ) from error
    with client:
        yield client.get_executor()
