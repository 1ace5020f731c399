"""The exporter removes what it could not read for a while."""

import asyncio
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from pipeline.consumer_lag import Lag
from pipeline.contracts.records import PartitionLag
from pipeline.errors import Retryable
from pipeline.metrics import clear_gauges, exposition
from pipeline.watchdog import Heartbeat
from producer import lag_exporter
from producer.lag_exporter import LAG_GAUGES, LagExporter, WatchedGroup
from support.wait import until


class Kafka:
    """The lag of the fetchers: it is read, fails, or hangs."""

    def __init__(self) -> None:
        self.errors: list[Retryable] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.halts_exported = 0

    async def read(self) -> dict[int, PartitionLag]:
        if self.errors:
            raise self.errors[0]
        await self.answers.wait()
        return {0: PartitionLag(7, 7, 0)}

    def export_halted(self) -> None:
        self.halts_exported += 1


@pytest.fixture(autouse=True)
def no_values() -> Iterator[None]:
    yield
    clear_gauges(LAG_GAUGES)


def exported() -> int:
    return sum(line.startswith("gsc_lag_messages{") for line in exposition("producer").decode().splitlines())


async def test_values_that_were_not_read_for_a_while_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_exporter, "EXPORT_EVERY_S", 0.001)
    monkeypatch.setattr(lag_exporter, "FRESH_S", 0.05)
    kafka, stop = Kafka(), asyncio.Event()
    exporter = LagExporter(WatchedGroup("fetcher", cast("Lag", kafka), None), (), kafka.export_halted)  # type: ignore[arg-type]
    task = asyncio.create_task(exporter.run(stop, Heartbeat("lag exporter", 60.0, 0.0)))
    troubles: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (lambda: kafka.errors.append(Retryable("away")), kafka.errors.clear),
        (kafka.answers.clear, kafka.answers.set),
    ]
    for fail, recover in troubles:
        await until(lambda: exported() == 1, 5, "the lag is exported")
        fail()
        await until(lambda: exported() == 0, 5, "the lag is removed")
        recover()
    stop.set()
    await task
    assert kafka.halts_exported > 2
