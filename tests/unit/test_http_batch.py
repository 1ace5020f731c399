"""Calls gathered into HTTP batches, with the API replaced by values."""

import asyncio
from collections.abc import Mapping

from fetcher.capacity import PageMemory, PagePermit
from fetcher.chunks import FetchedPage
from fetcher.http_batch import BatchTransport
from fetcher.outcome import Admission, Dead, Done, Failure, Outcome, Retry
from pipeline.contracts.messages import Batch
from support.examples import a_batch
from support.fetcher import a_permit
from support.wait import until

PAGE = Done(FetchedPage(([],), [], [], [], []))


class Api:
    """Records what was sent; returns the outcomes once `may_answer` is set."""

    def __init__(self, outcomes: Mapping[str, Outcome] | Failure | None = None) -> None:
        self.outcomes = outcomes
        self.sent: list[tuple[str, list[int]]] = []
        self.cancelled = 0
        self.may_answer = asyncio.Event()

    async def query_all(
        self, batches: Mapping[str, Batch], token: str, permit: Admission
    ) -> Mapping[str, Outcome] | Failure:
        self.sent.append((token, [batch.start_row for batch in batches.values()]))
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await permit.admit()
        await permit.reserve(600)
        return dict.fromkeys(batches, PAGE) if self.outcomes is None else self.outcomes


def query(
    transport: BatchTransport, number: int, token: str = "t", permit: PagePermit | None = None
) -> "asyncio.Task[Outcome]":
    return asyncio.create_task(transport.query(a_batch(start_row=number), token, permit or a_permit()))


async def test_a_full_batch_is_sent_and_tokens_never_mix() -> None:
    api = Api()
    api.may_answer.set()
    transport = BatchTransport(api, size=3, linger_s=60)
    tasks = [query(transport, number) for number in range(3)] + [query(transport, n, "other") for n in (7, 8, 9)]
    assert await asyncio.gather(*tasks) == [PAGE] * 6
    assert api.sent == [("t", [0, 1, 2]), ("other", [7, 8, 9])]


async def test_a_batch_that_is_not_full_is_sent_after_the_linger_time() -> None:
    api = Api()
    api.may_answer.set()
    transport = BatchTransport(api, size=10, linger_s=0.0)
    assert await query(transport, 4) == PAGE
    assert api.sent == [("t", [4])]


async def test_a_missing_part_is_a_retry_of_that_call_alone() -> None:
    api = Api({"0": PAGE, "2": Dead("bad_request", "no")})
    api.may_answer.set()
    transport = BatchTransport(api, size=3, linger_s=60)
    outcomes = await asyncio.gather(*(query(transport, number) for number in range(3)))
    assert outcomes == [
        PAGE,
        Retry("the response to the HTTP batch has no part for this call"),
        Dead("bad_request", "no"),
    ]


async def test_a_failure_of_the_request_is_the_outcome_of_every_call() -> None:
    refused = Retry("unauthorized", refresh_token=True)
    api = Api(refused)
    api.may_answer.set()
    transport = BatchTransport(api, size=2, linger_s=60)
    assert await asyncio.gather(*(query(transport, number) for number in range(2))) == [refused, refused]


async def test_a_call_cancelled_before_sending_is_not_sent_and_one_cancelled_later_leaves_the_others() -> None:
    api = Api()
    transport = BatchTransport(api, size=3, linger_s=60)
    early = query(transport, 0)
    await until(lambda: bool(transport._open), 60, "a call waits")
    early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    tasks = [query(transport, number) for number in (1, 2, 3)]
    await until(lambda: bool(api.sent), 60, "a batch is sent")
    assert api.sent == [("t", [1, 2, 3])]
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    api.may_answer.set()
    assert await asyncio.gather(*tasks[1:]) == [PAGE, PAGE]
    assert api.cancelled == 0


async def test_a_batch_whose_calls_are_all_cancelled_is_not_sent() -> None:
    api = Api()
    transport = BatchTransport(api, size=3, linger_s=60)
    task = query(transport, 0)
    await until(lambda: bool(transport._open), 60, "a call waits")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    transport._send(transport._open["t"])  # as when the linger time is over
    assert (api.sent, transport._open) == ([], {})


async def test_when_all_calls_are_cancelled_the_request_is_cancelled() -> None:
    api = Api()
    transport = BatchTransport(api, size=2, linger_s=60)
    tasks = [query(transport, number) for number in range(2)]
    await until(lambda: bool(api.sent), 60, "a batch is sent")
    for task in tasks:
        task.cancel()
    await until(lambda: api.cancelled > 0, 60, "the request is cancelled")
    assert api.cancelled == 1


async def test_two_batches_are_never_half_admitted_and_their_pages_share_the_bytes() -> None:
    api, memory = Api(), PageMemory(2, 1000)
    api.may_answer.set()
    transport = BatchTransport(api, size=2, linger_s=60)
    permits = [memory.permit(a_batch()) for _ in range(4)]
    tasks = [query(transport, number, permit=permit) for number, permit in enumerate(permits)]
    await until(lambda: sum(task.done() for task in tasks) == 2, 60, "the first batch is read")
    assert (memory.pages.used, memory.bytes.used) == (2, 600)
    permits[0].release()
    assert (memory.pages.used, memory.bytes.used) == (1, 300)
    permits[1].release()
    assert await asyncio.gather(*tasks) == [PAGE] * 4


async def test_a_cancelled_call_takes_no_room() -> None:
    api, memory = Api(), PageMemory(2, 1000)
    transport = BatchTransport(api, size=2, linger_s=60)
    permits = [memory.permit(a_batch()) for _ in range(2)]
    tasks = [query(transport, number, permit=permit) for number, permit in enumerate(permits)]
    await until(lambda: bool(api.sent), 60, "the batch is sent")
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    api.may_answer.set()
    assert await tasks[1] == PAGE
    assert (memory.pages.used, memory.bytes.used) == (1, 600)


async def test_an_error_reaches_every_caller() -> None:
    class Broken(Api):
        async def query_all(self, *_: object) -> Failure:
            raise RuntimeError("a bug")

    transport = BatchTransport(Broken(), size=2, linger_s=60)
    outcomes = await asyncio.gather(*(query(transport, number) for number in range(2)), return_exceptions=True)
    assert [str(error) for error in outcomes] == ["a bug", "a bug"]
