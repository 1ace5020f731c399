"""No call starts while the sink is too far behind."""

import asyncio

import pytest

from fetcher.backpressure import SinkBackpressure
from pipeline.contracts.records import PartitionLag
from pipeline.errors import Retryable
from support.wait import until


class Lag:
    """Readings of the lag, in turn; the last one is repeated."""

    def __init__(self, *readings: int | Exception) -> None:
        self.readings = list(readings)

    async def read(self) -> dict[int, PartitionLag]:
        raise NotImplementedError

    async def total(self) -> int:
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, Exception):
            raise reading
        return reading


def test_calls_pause_at_800_results_and_resume_below_500() -> None:
    backpressure = SinkBackpressure(Lag(0))
    paused = []
    for lag in (0, 799, 800, 799, 500, 499, 700):
        backpressure.update(lag)
        paused.append(backpressure.paused)
    assert paused == [False, False, True, True, True, False, False]
    assert backpressure.lag == 700


def test_a_sink_that_falls_behind_is_logged_once_and_so_is_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, int]] = []

    class Log:
        def warning(self, event: str, *, lag: int, **_: object) -> None:
            events.append((event, lag))

    monkeypatch.setattr("fetcher.backpressure._log", Log())
    backpressure = SinkBackpressure(Lag(0))
    for lag in (499, 500, 600, 850, 900, 400, 500):
        backpressure.update(lag)
    assert events == [
        ("sink_behind", 500),
        ("backpressure", 850),
        ("backpressure", 400),
        ("sink_behind", 500),
    ]


async def test_the_last_reading_holds_while_the_lag_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetcher.backpressure.READ_EVERY_S", 0.0)
    lag = Lag(900, Retryable("no broker"))
    backpressure, stop = SinkBackpressure(lag), asyncio.Event()
    watching = asyncio.create_task(backpressure.watch(stop))
    await until(lambda: len(lag.readings) == 1, 60, "the lag was read twice")
    assert (backpressure.paused, backpressure.lag) == (True, 900)
    lag.readings = [100]
    await until(lambda: not backpressure.paused, 60, "the lag is read again")
    stop.set()
    await watching
