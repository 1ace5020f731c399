"""CPU time, memory and rows written, by process and phase."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from lab.driver import Driver
from pipeline.postgres import connection

SAMPLE_S = 0.5
STATISTICS_S = 2.0
"""PostgreSQL's backends report their statistics at most this much later."""
_SERVERS = {"java": "kafka", "postgres": "postgres"}
_WRITTEN = """
select coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint, coalesce(sum(n_tup_del), 0)::bigint,
       pg_current_wal_insert_lsn() - '0/0'::pg_lsn
  from pg_stat_user_tables where schemaname = 'gsc' and relname like 'facts%'
"""


class Written(NamedTuple):
    """What PostgreSQL has written to the table of rows; staging tables do not count."""

    inserted: int
    updated: int
    deleted: int
    wal_bytes: int

    def since(self, before: "Written") -> "Written":
        """Return what was written after `before`."""
        return Written(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def rows(self) -> int:
        """Rows inserted, updated or deleted."""
        return self.inserted + self.updated + self.deleted


@dataclass
class Usage:
    """CPU seconds and highest resident memory of a phase, by service; instances of a service are added up."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    rss_max_mb: dict[str, float] = field(default_factory=dict)
    """Taken from the largest process of the service. PostgreSQL's includes the shared buffers it has touched."""


async def written(driver: Driver) -> Written:
    """Return what PostgreSQL has written since the database exists, once its statistics are complete."""
    await asyncio.sleep(STATISTICS_S)
    async with connection(driver.setup.servers.dsn, application="gsc-bench") as conn:
        row = await (await conn.execute(_WRITTEN.encode())).fetchone()
    return Written(*map(int, row or (0, 0, 0, 0)))


@asynccontextmanager
async def measured_usage(driver: Driver) -> AsyncIterator[Usage]:
    """Measure the processes for the length of the block; the figures are complete after it."""
    usage, roots = Usage(), _roots(driver)
    before = _cpu(roots)
    sampler = asyncio.create_task(_sample(roots, usage.rss_max_mb))
    try:
        yield usage
    finally:
        sampler.cancel()
        with suppress(asyncio.CancelledError):
            await sampler
        usage.cpu_s |= {name: seconds - before[name] for name, seconds in _cpu(roots).items()}


def _roots(driver: Driver) -> dict[str, list[psutil.Process]]:
    """Return the processes by service: `fetcher-1` and `fetcher-2` are one service."""
    roots: dict[str, list[psutil.Process]] = {"simulator": [psutil.Process(driver.simulator.process.pid)]}
    for name, process in driver.services.processes.items():
        if process.running:
            roots.setdefault(name.partition("-")[0], []).append(psutil.Process(process.pid))
    for child in psutil.Process().children(recursive=True):
        parent = child.parent()
        if (service := _SERVERS.get(child.name())) and parent and parent.name() != child.name():
            roots.setdefault(service, []).append(child)
    return roots


def _cpu(roots: Mapping[str, list[psutil.Process]]) -> dict[str, float]:
    """Return user plus system seconds by service, with those of children that have ended."""
    return {name: sum(sum(item.cpu_times()[:4]) for item in _trees(processes)) for name, processes in roots.items()}


def _trees(roots: list[psutil.Process]) -> list[psutil.Process]:
    return [*roots, *(child for root in roots for child in root.children(recursive=True))]


async def _sample(roots: Mapping[str, list[psutil.Process]], rss_max_mb: dict[str, float]) -> None:
    while True:
        for name, processes in roots.items():
            with suppress(psutil.NoSuchProcess):  # a backend of PostgreSQL that has ended since
                highest = max(item.memory_info().rss for item in _trees(processes)) / 2**20
                rss_max_mb[name] = max(rss_max_mb.get(name, 0.0), highest)
        await asyncio.sleep(SAMPLE_S)
