"""The longest pause of the event loop."""

import asyncio
import time

from pipeline import process
from pipeline.metrics import exposition
from pipeline.process import measure_loop_lag
from support.wait import until


def exported() -> float:
    lines = exposition("producer").decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("gsc_event_loop_lag_seconds "))


async def test_a_task_that_blocks_the_loop_is_seen() -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(measure_loop_lag(stop))
    await asyncio.sleep(0)
    time.sleep(3 * process.MEASURE_EVERY_S)
    await until(lambda: exported() >= process.MEASURE_EVERY_S, 60, "the pause is exported")
    stop.set()
    await task
