"""The longest pause of the event loop; time is an argument."""

import asyncio
import time

from pipeline import process
from pipeline.metrics import exposition
from pipeline.process import PAUSE_WINDOW_S, LongestPause, measure_loop_lag
from support.wait import until


def exported() -> float:
    lines = exposition("producer").decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("gsc_event_loop_lag_seconds "))


def test_the_longest_pause_counts_until_it_is_older_than_the_window() -> None:
    longest = LongestPause()
    assert longest.record(0.0, 0.5) == 0.5
    assert longest.record(1.0, 0.2) == 0.5
    assert longest.record(PAUSE_WINDOW_S + 0.5, 0.1) == 0.2
    assert longest.record(PAUSE_WINDOW_S + 1.5, 0.1) == 0.1
    assert longest.record(PAUSE_WINDOW_S + 2.0, 0.9) == 0.9


async def test_a_task_that_blocks_the_loop_is_seen() -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(measure_loop_lag(stop))
    await asyncio.sleep(0)
    time.sleep(3 * process.MEASURE_EVERY_S)
    await until(lambda: exported() >= process.MEASURE_EVERY_S, 5, "the pause is exported")
    stop.set()
    await task
