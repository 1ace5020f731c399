"""Run a service as a process: settings, signals, exit codes, and the pauses of its event loop.

Exit codes: 0 clean stop, 1 failure while running, 2 wrong settings or a missing requirement at start. The command line
has two more: 3 when only halted pages are left, 130 when it is interrupted.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from pipeline.clock import monotonic
from pipeline.errors import PipelineError
from pipeline.log import configure_logging, logger
from pipeline.loop_guard import guarded_loop
from pipeline.metrics import gauge
from pipeline.minute_maximum import MinuteMaximum
from pipeline.settings import Settings, SettingsError, read_settings
from pipeline.watchdog import TICK_S, Watchdog

S = TypeVar("S", bound=Settings)
Main = Callable[[asyncio.Event], Awaitable[None]]

STOP_S = 20.0
"""How long a stop may take. Nothing is lost when it is cut short: some work is repeated."""
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_HALTED = 3
EXIT_INTERRUPTED = 130
MEASURE_EVERY_S = 0.02


class StartError(Exception):
    """A requirement is missing before the work begins. One line per problem."""


def load_settings(model: type[S], environment: Mapping[str, str]) -> S:
    """Return the settings; on errors print one line per problem to stderr and exit with 2."""
    try:
        return read_settings(model, environment)
    except SettingsError as error:
        exit_usage(str(error))


def exit_usage(text: str) -> NoReturn:
    """Print the error to stderr and exit with 2."""
    print(text, file=sys.stderr)
    raise SystemExit(EXIT_USAGE)


def run_service(settings: Settings, service: str, main: Main, *, stop_s: float = STOP_S) -> NoReturn:
    """Run `main` until it returns, and end the process without waiting for threads: a client may leave some behind.

    SIGTERM and SIGINT set its event. A second signal ends the process immediately, and so do `stop_s` seconds after the
    event was set, with exit code 1.
    """

    async def run_to_the_end() -> NoReturn:
        exit_now(await _ended(service, main, stop_s))

    configure_logging(settings, service)
    asyncio.run(run_to_the_end())
    raise AssertionError("unreachable")


def exit_now(code: int) -> NoReturn:
    """End the process now, without waiting for threads."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has closed the pipe
            stream.flush()
    os._exit(code)


async def _ended(service: str, main: Main, stop_s: float) -> int:
    """Run `main` and log what ended it; returns the exit code."""
    code = 0
    try:
        await _with_signals(main, stop_s)
    except* StartError as group:
        print("\n".join(str(error) for error in _leaves(group)), file=sys.stderr)
        code = EXIT_USAGE
    except* PipelineError as group:
        for error in _leaves(group):
            logger(service).error("failed", error=str(error))
        code = EXIT_FAILED
    except* Exception:  # a bug: logged in the same shape, and the process ends
        logger(service).exception("crashed")
        code = EXIT_FAILED
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


async def _with_signals(main: Main, stop_s: float) -> None:
    stop = asyncio.Event()
    limit = asyncio.create_task(_limit_stop(stop, stop_s))
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            exit_now(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    with guarded_loop():
        await main(stop)
    limit.cancel()


async def _limit_stop(stop: asyncio.Event, seconds: float) -> None:
    """End the process when it has not ended some seconds after `stop`, even if its event loop hangs then."""
    await stop.wait()
    loop = asyncio.get_running_loop()

    def end() -> NoReturn:
        tasks = running_tasks(asyncio.all_tasks(loop))
        logger(__name__).error("stop_cut_short", seconds=seconds, tasks=tasks)
        exit_now(EXIT_FAILED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def run_until_stopped(stop: asyncio.Event, *services: Awaitable[None]) -> None:
    """Run services concurrently. When one of them ends or fails, or `stop` is set, all stop."""

    async def guarded(service: Awaitable[None]) -> None:
        try:
            await service
        finally:
            stop.set()

    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(guarded(service))


async def event_or_timeout(event: asyncio.Event, seconds: float) -> bool:
    """Wait; returns True as soon as the event is set, False after the time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def watch(stop: asyncio.Event, watchdog: Watchdog) -> None:
    """Keep the watchdog's time until `stop`. Ends the process when a loop has stalled and nothing else has ended it."""
    while not await event_or_timeout(stop, TICK_S):
        watchdog.tick(monotonic())
        if reason := watchdog.expired(monotonic()):
            logger(__name__).error("stalled", reason=reason, tasks=running_tasks(asyncio.all_tasks()))
            exit_now(EXIT_FAILED)


def running_tasks(tasks: Iterable[asyncio.Task[Any]]) -> list[str]:
    """Return each task with the coroutines that it waits in, each with its line, the innermost last."""
    return sorted(f"{task.get_name()} {_place(task)}" for task in tasks if not task.done())


def _place(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    places = []
    while frame := getattr(coroutine, "cr_frame", None):
        places.append(f"{frame.f_code.co_qualname} line {frame.f_lineno}")
        coroutine = coroutine.cr_await
    return " > ".join(places)


async def measure_loop_lag(stop: asyncio.Event) -> None:
    """Export the longest pause of the event loop in the last minute, until `stop`."""
    longest = MinuteMaximum()
    while not stop.is_set():
        due = monotonic() + MEASURE_EVERY_S
        await event_or_timeout(stop, MEASURE_EVERY_S)
        now = monotonic()
        longest.add(max(0.0, now - due), now)
        gauge("gsc_event_loop_lag_seconds").set(longest.value(now))
