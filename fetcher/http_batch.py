"""The batch transport: calls that wait at the same time go out as one HTTP batch.

Each call of a batch has its own outcome, and each counts towards the quotas.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fetcher.capacity import PagePermit
from fetcher.outcome import Admission, Failure, Outcome, Retry
from pipeline.contracts.messages import Batch


class BatchApi(Protocol):
    """An API that takes several calls in one request."""

    async def query_all(
        self, batches: Mapping[str, Batch], token: str, permit: Admission
    ) -> Mapping[str, Outcome] | Failure:
        """Call the API; returns outcomes by the ids of the calls, or one failure of the request.

        Outcomes may be missing.
        """


@dataclass(eq=False)
class _Call:
    batch: Batch
    permit: PagePermit
    outcome: "asyncio.Future[Outcome]"


class _JointAdmission:
    """Room for all pages of an HTTP batch at the same time: two batches that are half admitted would deadlock."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        self._calls = calls

    async def admit(self) -> None:
        """Wait until the body may be read."""
        if permits := self._permits():
            await permits[0].admit(permits[1:])

    async def reserve(self, size: int) -> None:
        """Wait until the body may be decoded, to `size` bytes."""
        if permits := self._permits():
            await permits[0].reserve(size, permits[1:])

    def _permits(self) -> list[PagePermit]:
        return [call.permit for call in self._calls if not call.outcome.done()]


@dataclass(eq=False)
class _HttpBatch:
    token: str
    calls: list[_Call] = field(default_factory=list)

    def waiting(self) -> list[_Call]:
        """Return the calls that were not cancelled and have no outcome yet."""
        return [call for call in self.calls if not call.outcome.done()]


class BatchTransport:
    """A transport with the interface of the plain one.

    An HTTP batch is sent when it is full, or `linger_s` after its first call. `size` must not exceed the number of
    pages that may be in memory, since the complete response to a batch is read into memory.
    """

    def __init__(self, api: BatchApi, *, size: int, linger_s: float) -> None:
        self._api = api
        self._size = size
        self._linger_s = linger_s
        self._open: dict[str, _HttpBatch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def query(self, batch: Batch, token: str, permit: PagePermit) -> Outcome:
        """Fetch a page as part of an HTTP batch. A call that is cancelled before the batch is sent is not sent."""
        call = _Call(batch, permit, asyncio.get_running_loop().create_future())
        http_batch = self._open.get(token)
        if http_batch is None:
            http_batch = self._open[token] = _HttpBatch(token)
            self._spawn(self._linger(http_batch))
        http_batch.calls.append(call)
        if len(http_batch.waiting()) >= self._size:
            self._send(http_batch)
        return await call.outcome

    async def _linger(self, http_batch: _HttpBatch) -> None:
        await asyncio.sleep(self._linger_s)
        if self._open.get(http_batch.token) is http_batch:
            self._send(http_batch)

    def _send(self, http_batch: _HttpBatch) -> None:
        del self._open[http_batch.token]
        calls = http_batch.waiting()
        if not calls:
            return
        task = self._spawn(self._exchange(http_batch.token, calls))
        # When every call was cancelled, no caller waits for the response.
        for call in calls:
            call.outcome.add_done_callback(lambda _: None if http_batch.waiting() else task.cancel())

    async def _exchange(self, token: str, calls: Sequence[_Call]) -> None:
        by_id = {str(number): call for number, call in enumerate(calls)}
        batches = {id_: call.batch for id_, call in by_id.items()}
        try:
            outcomes = await self._api.query_all(batches, token, _JointAdmission(calls))
        except Exception as error:
            for call in calls:
                if not call.outcome.done():
                    call.outcome.set_exception(error)
            return
        for id_, call in by_id.items():
            if not call.outcome.done():
                call.outcome.set_result(_outcome_of(outcomes, id_))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _outcome_of(outcomes: Mapping[str, Outcome] | Failure, id_: str) -> Outcome:
    if isinstance(outcomes, Mapping):
        return outcomes.get(id_, Retry("the response to the HTTP batch has no part for this call"))
    return outcomes
