"""Law L7: exact counts, a slot freed exactly once, whatever is cancelled at whatever await."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatlab.errors import ServerClosing, ServerError, SessionBusy, TooManyRequests
from chatlab.server.admission import Admission


class Reference:
    """The slow, obvious model: who runs and who waits, as two lists of (name, key)."""

    def __init__(self, running, waiting):
        self.max_running, self.max_waiting = running, waiting
        self.running, self.waiting = [], []

    def ask(self, name, key):
        same = key is not None and key in [k for _, k in self.running + self.waiting]
        if len(self.running) < self.max_running and not same:
            self.running.append((name, key))
        elif len(self.waiting) < self.max_waiting:
            self.waiting.append((name, key))
        else:
            return False
        return True

    def leave(self, name):
        self.running = [entry for entry in self.running if entry[0] != name]
        self.waiting = [entry for entry in self.waiting if entry[0] != name]
        before = []
        for entry in list(self.waiting):
            taken = [k for _, k in self.running + before if k is not None]
            if len(self.running) < self.max_running and entry[1] not in taken:
                self.waiting.remove(entry)
                self.running.append(entry)
            else:
                before.append(entry)


clients = st.tuples(
    st.sampled_from([None, None, "a", "b"]),  # key
    st.integers(0, 6),  # comes at this tick
    st.integers(0, 5),  # awaits so often while it runs
    st.one_of(st.none(), st.integers(0, 12)),  # is cancelled at this tick
)


@given(st.integers(1, 3), st.integers(0, 4), st.lists(clients, max_size=12))
@example(1, 1, [(None, 0, 2, None), (None, 0, 2, 1), (None, 0, 0, None)])
@example(1, 2, [("a", 0, 3, None), ("a", 0, 1, None), (None, 0, 1, 3)])
def test_any_schedule_of_comings_and_cancels_keeps_the_counts(running, waiting, coming):
    """The admission and the reference agree on who runs and who waits after every tick."""

    async def play():
        admission, reference = Admission(running, waiting, busy="queue"), Reference(running, waiting)
        runs: set[int] = set()

        async def client(name, key, awaits):
            if not reference.ask(name, key):
                with pytest.raises(TooManyRequests):
                    admission.ask(key)
                return
            try:
                async with admission.enter(key):
                    runs.add(name)
                    for _ in range(awaits):
                        await asyncio.sleep(0)
            finally:
                runs.discard(name)
                reference.leave(name)

        tasks: dict[int, asyncio.Task] = {}
        for tick in range(60):
            for name, (key, at, awaits, _) in enumerate(coming):
                if at == tick:
                    tasks[name] = asyncio.create_task(client(name, key, awaits))
            for name, (_, _, _, cancelled_at) in enumerate(coming):
                if cancelled_at == tick and name in tasks:
                    tasks[name].cancel()
            await asyncio.sleep(0)
            load = admission.load()
            assert (load.running, load.waiting) == (len(reference.running), len(reference.waiting))
            assert runs <= {name for name, _ in reference.running}
            assert load.running <= running
            assert load.waiting <= waiting
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert admission.load().running == admission.load().waiting == 0
        assert await admission.close()

    asyncio.run(play())


@pytest.mark.parametrize(("running", "waiting"), [(2, 5), (1, 0), (1, 1), (3, 1000)])
@pytest.mark.parametrize("staggered", [False, True])
def test_a_burst_finds_exactly_the_places_there_are(running, waiting, staggered):
    """Also 1 waiting place is one, and 0 is none."""

    async def play():
        admission = Admission(running, waiting)
        tickets, refusals = [], []
        for _ in range(running + waiting + 7):
            try:
                tickets.append(admission.ask())
            except TooManyRequests as error:
                refusals.append(error)
            if staggered:
                await asyncio.sleep(0)
        assert (len(tickets), len(refusals)) == (running + waiting, 7)
        assert all(error.place == waiting + 1 and 1 <= error.retry_after <= 60 for error in refusals)
        assert [ticket.place for ticket in tickets] == [0] * running + list(range(1, waiting + 1))

    asyncio.run(play())


async def stay(admission, **options):
    async with admission.enter(**options):
        await asyncio.sleep(60)


def test_one_who_leaves_the_queue_frees_the_place_at_once():
    async def play():
        admission = Admission(1, 1)
        async with admission.enter():
            ghost = asyncio.create_task(stay(admission))
            await asyncio.sleep(0)
            with pytest.raises(TooManyRequests):
                admission.ask()
            ghost.cancel()
            await asyncio.sleep(0)
            assert admission.ask().place == 1

    asyncio.run(play())


def test_a_slot_given_to_one_who_is_cancelled_before_waking_is_free_again():
    async def play():
        admission = Admission(1, 2)
        first = admission.ask()
        second = asyncio.create_task(stay(admission))
        third = admission.ask()
        await asyncio.sleep(0)
        first.leave()
        second.cancel()
        await asyncio.sleep(0)
        assert third.place == 0

    asyncio.run(play())


def test_a_forgotten_ticket_holds_nothing():
    async def play():
        admission = Admission(1, 0)
        admission.ask()
        gc.collect()
        ticket = admission.ask()
        ticket.leave()
        ticket.leave()
        assert admission.load().running == 0

    asyncio.run(play())


def test_those_who_wait_are_told_each_place():
    async def play():
        admission, places = Admission(1, 3), []

        async def told(place):
            places.append(place)

        first, second = admission.ask(), admission.ask()
        third = asyncio.create_task(stay(admission, on_place=told))
        await asyncio.sleep(0)
        first.leave()
        await asyncio.sleep(0)
        second.leave()
        await asyncio.sleep(0)
        assert places == [2, 1]
        assert admission.load().running == 1
        third.cancel()

    asyncio.run(play())


def test_a_session_has_one_running_turn():
    async def play():
        admission = Admission(2, 2)
        first = admission.ask("a")
        with pytest.raises(SessionBusy):
            admission.ask("a")
        assert admission.ask("b").place == 0
        first.leave()
        assert admission.ask("a").place == 0

    asyncio.run(play())


def test_where_sessions_queue_others_pass_by():
    async def play():
        admission = Admission(2, 2, busy="queue")
        first, again = admission.ask("a"), admission.ask("a")
        assert (again.place, admission.ask("b").place) == (1, 0)
        first.leave()
        assert again.place == 0

    asyncio.run(play())


def test_closing_turns_away_new_and_waiting_and_waits_for_the_running():
    async def play():
        admission = Admission(1, 1)
        running = admission.ask()
        waiting = asyncio.create_task(admission.ask().wait())
        await asyncio.sleep(0)
        assert not await admission.close(0.01)
        with pytest.raises(ServerClosing):
            await waiting
        with pytest.raises(ServerClosing):
            admission.ask()
        asyncio.get_running_loop().call_later(0.01, running.leave)
        assert await admission.close(5)

    asyncio.run(play())


@pytest.mark.parametrize("counts", [(0, 1), (1, -1), (True, 1), (1.5, 1), ("2", 1)])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(ServerError, match="must be"):
        Admission(*counts)
