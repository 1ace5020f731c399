"""The longest pause of the event loop, on a clock of its own."""

import asyncio

import pytest

from pipeline import process
from pipeline.metrics import exposition
from pipeline.process import MEASURE_EVERY_S, measure_loop_lag


class World:
    """A loop that is blocked for some seconds in each of its waits, and stops after the last."""

    def __init__(self, *blocked_s: float) -> None:
        self._blocked_s = list(blocked_s)
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def wait(self, stop: asyncio.Event, seconds: float) -> bool:
        self.now += seconds + self._blocked_s.pop(0)
        if not self._blocked_s:
            stop.set()
        return stop.is_set()


def exported() -> float:
    lines = exposition("producer").decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("gsc_event_loop_lag_seconds "))


@pytest.mark.parametrize(
    ("blocked_s", "lag"),
    [([0.0], 0.0), ([0.0, 3.0, 1.0], 3.0), ([3.0, *[1.0] * int(60 / (MEASURE_EVERY_S + 1.0)), 1.0], 1.0)],
    ids=["never", "the longest", "a minute ago"],
)
async def test_the_longest_pause_of_the_last_minute_is_exported(
    monkeypatch: pytest.MonkeyPatch, blocked_s: list[float], lag: float
) -> None:
    world = World(*blocked_s)
    monkeypatch.setattr(process, "monotonic", world.monotonic)
    monkeypatch.setattr(process, "event_or_timeout", world.wait)
    await measure_loop_lag(asyncio.Event())
    assert exported() == pytest.approx(lag)
