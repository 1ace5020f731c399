"""Calls that wait at the same time, gathered into HTTP batches. Each keeps its own fate, and each is counted."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fetcher.chunks import FetchedPage
from fetcher.error_policy import Retry, Verdict
from pipeline.contracts.messages import Batch

Admit = Callable[[], Awaitable[None]]
Answer = FetchedPage | Verdict


class Exchanging(Protocol):
    """The API, for several calls at once."""

    async def query_all(self, batches: Mapping[str, Batch], token: str, admit: Admit) -> Mapping[str, Answer] | Verdict:
        """Answers by the calls' ids, some of which may be missing; or one verdict on the whole."""


@dataclass(eq=False)
class _Waiting:
    batch: Batch
    admit: Admit
    answer: "asyncio.Future[Answer]"


@dataclass(eq=False)
class _Group:
    token: str
    members: list[_Waiting] = field(default_factory=list)

    def wanted(self) -> list[_Waiting]:
        """Those that nobody has cancelled."""
        return [member for member in self.members if not member.answer.done()]


class BatchTransport:
    """Has the face of the plain transport. A batch goes out when it is full, or `linger_s` after its first call.

    `size` must not be more than the pages that may be in memory: a batch's answer is read as a whole.
    """

    def __init__(self, exchange: Exchanging, *, size: int, linger_s: float) -> None:
        self._exchange = exchange
        self._size = size
        self._linger_s = linger_s
        self._open: dict[str, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._admitting = asyncio.Lock()

    async def query(self, batch: Batch, token: str, admit: Admit) -> Answer:
        """Fetch a page, as a part of a batch. Whoever cancels this before the batch is sent is left out of it."""
        member = _Waiting(batch, admit, asyncio.get_running_loop().create_future())
        group = self._open.get(token)
        if group is None:
            group = self._open[token] = _Group(token)
            self._spawn(self._linger(group))
        group.members.append(member)
        if len(group.wanted()) >= self._size:
            self._send(group)
        return await member.answer

    async def _linger(self, group: _Group) -> None:
        await asyncio.sleep(self._linger_s)
        if self._open.get(group.token) is group:
            self._send(group)

    def _send(self, group: _Group) -> None:
        del self._open[group.token]
        wanted = group.wanted()
        if not wanted:
            return
        task = self._spawn(self._exchanged(group.token, wanted))
        for member in wanted:
            member.answer.add_done_callback(lambda _: None if group.wanted() else task.cancel())

    async def _exchanged(self, token: str, members: Sequence[_Waiting]) -> None:
        by_id = {str(number): member for number, member in enumerate(members)}
        batches = {name: member.batch for name, member in by_id.items()}
        try:
            answers = await self._exchange.query_all(batches, token, lambda: self._admit(members))
        except Exception as error:
            for member in members:
                if not member.answer.done():
                    member.answer.set_exception(error)
            return
        for name, member in by_id.items():
            if not member.answer.done():
                member.answer.set_result(_answer(answers, name))

    async def _admit(self, members: Sequence[_Waiting]) -> None:
        """All of a batch, one batch after the other: two that are half admitted would wait for each other."""
        async with self._admitting:
            for member in members:
                if not member.answer.done():
                    await member.admit()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _answer(answers: Mapping[str, Answer] | Verdict, name: str) -> Answer:
    if isinstance(answers, Mapping):
        return answers.get(name, Retry("the batch's answer lacks this part"))
    return answers
