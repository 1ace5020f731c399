"""Synthetic results for the sink, and a process that feeds them to a sink without Kafka."""

import asyncio
import resource
import struct
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from fetcher.chunks import Fetch, FetchedPage, chunks
from pipeline.clock import monotonic, now
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter
from pipeline.offsets import AssignedPartition, OffsetCommit
from pipeline.postgres import Limits, connection
from pipeline.watchdog import Heartbeat
from sink.queue import BatchSize
from sink.service import Sink
from sink.settings import SinkSettings
from sink.writer import Writer

PAGE = 25_000
BYTES = int(SinkSettings.model_fields["sink_batch_bytes"].default)
FIRST_DAY = date(2026, 1, 1)


@dataclass(frozen=True)
class Load:
    """Pages of one property. `changed` is the share of rows whose numbers depend on the generation."""

    name: str
    days: int
    generation: int
    changed: float = 0.0
    pages_a_day: int = 1
    first_day: int = 0
    conflicting: float = 1.0
    """Share of the rows whose query does not depend on the generation."""

    @property
    def pages(self) -> int:
        """The number of pages."""
        return self.days * self.pages_a_day

    def fetches(self) -> Iterator[tuple[Batch, FetchedPage]]:
        """Yield the pages, one after the other."""
        for day in range(self.days):
            for number in range(self.pages_a_day):
                yield self._batch(FIRST_DAY + timedelta(days=self.first_day + day), number), self._page(day, number)

    def _batch(self, day: date, number: int) -> Batch:
        batch = Batch(
            batch_id="0" * 32, run_id=f"run-{self.generation}", generation=self.generation, priority="backfill",
            credential="bench", property=self.name, report="page_query", search_type="web",
            dimensions=("date", "query", "page"), data_state="final", date=day, start_row=number * PAGE,
            row_limit=PAGE,
        )  # fmt: skip
        return Batch(**{**_fields(batch), "batch_id": batch_id(page_of(batch))})

    def _page(self, day: int, number: int) -> FetchedPage:
        rows = range(number * PAGE, (number + 1) * PAGE)
        same = int(self.conflicting * PAGE)
        queries = [
            f"how to size part {n} of {day}" + ("" if n % PAGE < same else f" again {self.generation}") for n in rows
        ]
        pages = [f"https://www.shop.example/catalog/department-{n % 97}/product-{n}" for n in rows]
        changed = int(self.changed * PAGE)
        clicks = [float(n % 50 + (self.generation if n % PAGE < changed else 0)) for n in rows]
        impressions = [clicks[n % PAGE] + n % 997 + 1.0 for n in rows]
        ctr = [part / whole for part, whole in zip(clicks, impressions, strict=True)]
        return FetchedPage((queries, pages), clicks, impressions, ctr, [1 + n % 1009 / 7 for n in rows])

    def save(self, file: Path) -> None:
        """Write the messages to a file."""
        with file.open("wb") as stream:
            for number, (batch, page) in enumerate(self.fetches()):
                last = (number + 1) % self.pages_a_day == 0
                following = None if last else batch.start_row + PAGE
                for value in chunks(Fetch(batch, f"fetch-{self.generation}", now(), following), page):
                    stream.write(struct.pack("<I", len(value)) + value)


def _fields(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__struct_fields__ if name != "version"}


class Cost(NamedTuple):
    """What a process used, in seconds of the clock and of CPU; `rss_mb` is its peak."""

    started: float
    ended: float
    sink_cpu_s: float
    postgres_cpu_s: float
    rss_mb: float


class _Member:
    """A consumer group of one member, whose messages are in a file."""

    def __init__(self) -> None:
        self.committed = 0
        self.progress = asyncio.Event()

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """Remember how far the sink is."""
        self.committed = max(commit.offset for commit in commits)
        self.progress.set()

    async def feed(self, sink: Sink, file: Path) -> None:
        """Pass the messages on while the sink wants them, and return when it has committed all."""
        offset = 0
        with file.open("rb") as stream:
            while head := stream.read(4):
                while not sink.wants_more():
                    await asyncio.sleep(0.002)
                value = stream.read(struct.unpack("<I", head)[0])
                await sink.receive([Record("bench", 0, offset, b"k", value, 0)])
                offset += 1
                await asyncio.sleep(0)
        while self.committed < offset:
            self.progress.clear()
            await self.progress.wait()


async def _refuse(letter: DeadLetter) -> None:
    raise AssertionError(f"{letter.reason}: {letter.error}")


async def _feed(dsn: str, file: Path, start_at: float) -> Cost:
    backends: list[psutil.Process] = []

    @asynccontextmanager
    async def open_writer() -> Any:
        async with connection(dsn, application="bench", limits=Limits(600.0)) as conn:
            backends.append(psutil.Process(conn.info.backend_pid))
            yield Writer(conn, 0.5)

    member, stop = _Member(), asyncio.Event()
    size = BatchSize(BYTES, 0.01)
    heartbeat = Heartbeat("bench", 600.0, monotonic())
    sink = Sink(member, size, open_writer, _refuse, DeadLetterLimit(1, 1.0), heartbeat)
    await sink.assigned([AssignedPartition(0, 0, "")])
    task = asyncio.create_task(sink.run(stop))
    while not sink.connected:
        await asyncio.sleep(0.01)
        if task.done():
            await task
    await asyncio.sleep(start_at - monotonic())
    before, started = _cpu_s(), monotonic()
    feeding = asyncio.create_task(member.feed(sink, file))
    await asyncio.wait([feeding, task], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    await feeding
    ended, used = monotonic(), _cpu_s() - before
    times = [backend.cpu_times() for backend in backends]
    stop.set()
    await task
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(started, ended, used, sum(item.user + item.system for item in times), peak_mb)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def run_sink(dsn: str, file: Path, start_at: float) -> Cost:
    """Write the messages of a file with one sink, from `start_at` on the monotonic clock."""
    return asyncio.run(_feed(dsn, file, start_at))
