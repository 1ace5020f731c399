"""The batch transport: calls that wait at the same time go out as one HTTP batch.

Each call of a batch has its own outcome, and each counts towards the quotas.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fetcher.outcome import Admit, Failure, Outcome, Retry
from pipeline.contracts.messages import Batch


class BatchApi(Protocol):
    """An API that takes several calls in one request."""

    async def query_all(
        self, batches: Mapping[str, Batch], token: str, admit: Admit
    ) -> Mapping[str, Outcome] | Failure:
        """Call the API; returns outcomes by the ids of the calls, or one failure of the request.

        Outcomes may be missing.
        """


@dataclass(eq=False)
class _Call:
    batch: Batch
    admit: Admit
    outcome: "asyncio.Future[Outcome]"


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
        self._admitting = asyncio.Lock()

    async def query(self, batch: Batch, token: str, admit: Admit) -> Outcome:
        """Fetch a page as part of an HTTP batch. A call that is cancelled before the batch is sent is not sent."""
        call = _Call(batch, admit, asyncio.get_running_loop().create_future())
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
            outcomes = await self._api.query_all(batches, token, lambda: self._admit(calls))
        except Exception as error:
            for call in calls:
                if not call.outcome.done():
                    call.outcome.set_exception(error)
            return
        for id_, call in by_id.items():
            if not call.outcome.done():
                call.outcome.set_result(_outcome_of(outcomes, id_))

    async def _admit(self, calls: Sequence[_Call]) -> None:
        """Wait for room for all pages of a batch, one batch at a time: two that are half admitted would deadlock."""
        async with self._admitting:
            for call in calls:
                if not call.outcome.done():
                    await call.admit()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _outcome_of(outcomes: Mapping[str, Outcome] | Failure, id_: str) -> Outcome:
    if isinstance(outcomes, Mapping):
        return outcomes.get(id_, Retry("the response to the HTTP batch has no part for this call"))
    return outcomes
