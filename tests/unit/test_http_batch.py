"""Calls gathered into batches, with the API made of values."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fetcher.chunks import FetchedPage
from fetcher.error_policy import Dead, Refresh, Retry, Verdict
from fetcher.http_batch import BatchTransport
from pipeline.contracts.messages import Batch
from support.examples import a_batch
from support.wait import until

PAGE = FetchedPage(([],), [], [], [], [])


class Api:
    """Notes what was sent; answers once it may."""

    def __init__(self, answers: Mapping[str, FetchedPage | Verdict] | Verdict | None = None) -> None:
        self.answers = answers
        self.sent: list[tuple[str, list[int]]] = []
        self.cancelled = 0
        self.may = asyncio.Event()

    async def query_all(
        self, batches: Mapping[str, Batch], token: str, admit: Callable[[], Awaitable[None]]
    ) -> Mapping[str, FetchedPage | Verdict] | Verdict:
        self.sent.append((token, [batch.start_row for batch in batches.values()]))
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await admit()
        return dict.fromkeys(batches, PAGE) if self.answers is None else self.answers


class Places:
    """A bounded number of bodies in memory."""

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)
        self.taken = 0

    async def admit(self) -> None:
        await self.free.acquire()
        self.taken += 1


def asked(
    gathering: BatchTransport, number: int, token: str = "t", places: Places | None = None
) -> "asyncio.Task[object]":
    admit = (places or Places(100)).admit
    return asyncio.create_task(gathering.query(a_batch(start_row=number), token, admit))


async def test_a_full_batch_goes_at_once_and_tokens_never_mix() -> None:
    api = Api()
    api.may.set()
    gathering = BatchTransport(api, size=3, linger_s=60)
    tasks = [asked(gathering, number) for number in range(3)] + [asked(gathering, n, "other") for n in (7, 8, 9)]
    assert await asyncio.gather(*tasks) == [PAGE] * 6
    assert api.sent == [("t", [0, 1, 2]), ("other", [7, 8, 9])]


async def test_what_is_not_full_goes_after_a_while() -> None:
    api = Api()
    api.may.set()
    gathering = BatchTransport(api, size=10, linger_s=0.0)
    assert await asked(gathering, 4) == PAGE
    assert api.sent == [("t", [4])]


async def test_a_missing_part_is_transient_for_that_part_alone() -> None:
    api = Api({"0": PAGE, "2": Dead("bad_request", "no")})
    api.may.set()
    gathering = BatchTransport(api, size=3, linger_s=60)
    found = await asyncio.gather(*(asked(gathering, number) for number in range(3)))
    assert found == [PAGE, Retry("the batch's answer lacks this part"), Dead("bad_request", "no")]


async def test_a_verdict_on_the_whole_is_told_to_every_part() -> None:
    api = Api(Refresh())
    api.may.set()
    gathering = BatchTransport(api, size=2, linger_s=60)
    assert await asyncio.gather(*(asked(gathering, number) for number in range(2))) == [Refresh(), Refresh()]


async def test_who_is_cancelled_before_is_not_sent_and_who_is_after_leaves_the_others() -> None:
    api = Api()
    gathering = BatchTransport(api, size=3, linger_s=60)
    early = asked(gathering, 0)
    await until(lambda: bool(gathering._open), 5, "a call waits")
    early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    tasks = [asked(gathering, number) for number in (1, 2, 3)]
    await until(lambda: bool(api.sent), 5, "a batch is sent")
    assert api.sent == [("t", [1, 2, 3])]
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    api.may.set()
    assert await asyncio.gather(*tasks[1:]) == [PAGE, PAGE]
    assert api.cancelled == 0


async def test_when_all_are_cancelled_the_request_is() -> None:
    api = Api()
    gathering = BatchTransport(api, size=2, linger_s=60)
    tasks = [asked(gathering, number) for number in range(2)]
    await until(lambda: bool(api.sent), 5, "a batch is sent")
    for task in tasks:
        task.cancel()
    await until(lambda: api.cancelled > 0, 5, "the request is cancelled")
    assert api.cancelled == 1


async def test_two_batches_are_never_half_admitted() -> None:
    api, places = Api(), Places(2)
    api.may.set()
    gathering = BatchTransport(api, size=2, linger_s=60)
    tasks = [asked(gathering, number, places=places) for number in range(4)]
    await until(lambda: sum(task.done() for task in tasks) == 2, 5, "the first batch is read")
    assert places.taken == 2
    for _ in range(2):
        places.free.release()
    assert await asyncio.gather(*tasks) == [PAGE] * 4


async def test_an_error_reaches_every_caller() -> None:
    class Broken(Api):
        async def query_all(self, *_: object) -> Verdict:
            raise RuntimeError("a bug")

    gathering = BatchTransport(Broken(), size=2, linger_s=60)
    found = await asyncio.gather(*(asked(gathering, number) for number in range(2)), return_exceptions=True)
    assert [str(error) for error in found] == ["a bug", "a bug"]
