"""Entry point of the planner."""

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

import faust

from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.consumer_lag import LagReader
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS, Topic
from pipeline.control import ControlWatcher
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Fatal, Invalid
from pipeline.health import HttpServer
from pipeline.kafka import group_id
from pipeline.log import logger
from pipeline.postgres import Connection, connection
from pipeline.process import StartError, load_settings, run_service_and_exit, run_until_stopped, sleep_or_stop
from pipeline.publisher import Publisher
from pipeline.retry import with_retries
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import open_topic_reader
from producer.actions import Asking
from producer.api import routes
from producer.faust_app import at_times, build_app, credentials
from producer.intake import SERVICE, Intake, Ports
from producer.lag_exporter import LagExporter, Opening, Watched
from producer.outbox import Lag, Lags, Outbox
from producer.settings import ProducerSettings

STOP_S = 10.0
_log = logger(__name__)


def main() -> NoReturn:
    """Run until SIGTERM; ends the process with the exit code."""
    settings = load_settings(ProducerSettings, os.environ)  # noqa: TID251 - read once, here
    # A stop of Faust's that is cut short leaves its consumer's thread, which would stay in the group for ever.
    run_service_and_exit(settings, "producer", lambda stop: _serve(settings, stop))


async def _serve(settings: ProducerSettings, stop: asyncio.Event) -> None:
    try:
        catalog = read_catalog(settings.catalog)
        credentials(settings.kafka)  # what Faust cannot do is said before anything is reached
    except (CatalogError, Invalid) as error:
        raise StartError(str(error)) from error
    await require_topics(settings)
    await require_schema(settings, "gsc-producer")
    publisher = Publisher(settings.kafka, "gsc-producer")
    control = ControlWatcher(settings.kafka, settings.topic_prefix)
    await control.start()
    try:
        await _plan(settings, catalog, publisher, control, stop)
    finally:
        await control.close()
        await publisher.close()


async def _plan(
    settings: ProducerSettings, catalog: Catalog, publisher: Publisher, control: ControlWatcher, stop: asyncio.Event
) -> None:
    prefix = settings.topic_prefix

    def open_() -> AbstractAsyncContextManager[Connection]:
        return connection(settings.postgres_dsn.get_secret_value(), application="gsc-producer")

    asking = Asking(prefix, publisher, open_, control.halts)
    lags = _lags(settings)
    outbox = Outbox(BATCHES.full_name(prefix), publisher, lags, control.halts, settings.max_queue_size)
    control.subscribe(outbox.planned)
    bound = DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_ratio)
    intake = Intake(catalog, Ports(prefix, publisher, outbox, open_), bound)
    app = build_app(settings, SYNC_REQUESTS.full_name(prefix), intake.take)
    if settings.daily_cron:
        at_times(app, settings.daily_cron, lambda: with_retries(lambda: asking.daily(catalog, settings.daily_days)))
    face = HttpServer(settings, SERVICE, not_ready=lambda: outbox.trouble, routes=routes(settings, catalog, asking))
    await face.start()
    try:
        await run_until_stopped(
            stop,
            _take_in(app, intake, stop),
            outbox.run(stop, open_),
            _observer(settings, catalog, lags, open_).run(stop),
        )
    finally:
        await face.stop()


def _lags(settings: ProducerSettings) -> Lags:
    return Lags(_lag(settings, "fetcher", BATCHES), _lag(settings, "sink", RESULTS))


def _lag(settings: ProducerSettings, service: str, topic: Topic) -> LagReader:
    prefix = settings.topic_prefix
    return LagReader(settings.kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))


def _observer(settings: ProducerSettings, catalog: Catalog, lags: Lags, open_: Opening) -> LagExporter:
    return LagExporter(
        _watched(settings, "fetcher", lags.fetchers, BATCHES),
        [
            _watched(settings, "sink", lags.sink, RESULTS),
            _watched(settings, SERVICE, _lag(settings, SERVICE, SYNC_REQUESTS), SYNC_REQUESTS),
        ],
        open_,
        lambda credential: settings.allowed_qpm(catalog, credential),
    )


def _watched(settings: ProducerSettings, service: str, lag: Lag, topic: Topic) -> Watched:
    prefix = settings.topic_prefix
    return Watched(service, lag, lambda: open_topic_reader(settings.kafka, prefix, topic.full_name(prefix)))


async def _take_in(app: faust.App, intake: Intake, stop: asyncio.Event) -> None:
    """Run Faust inside our own loop, beside the publisher; its crash is ours."""
    try:
        await app.start()
        while not await sleep_or_stop(stop, 0.5):
            if intake.failure is not None:
                raise intake.failure
            if app.crashed:
                raise Fatal(f"Faust crashed: {app.crash_reason!r}")
    finally:
        if intake.failure is None:  # else it would wait for the request that failed
            await _stop(app)


async def _stop(app: faust.App) -> None:
    try:
        async with asyncio.timeout(STOP_S):
            await app.stop()
    except TimeoutError:
        _log.warning("stop_cut_short", seconds=STOP_S)


if __name__ == "__main__":
    main()
