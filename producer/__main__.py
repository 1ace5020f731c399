"""Entry point of the producer."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_watcher import CatalogWatcher
from pipeline.clock import monotonic, now
from pipeline.consumer_lag import Lag, LagReader
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS, Topic
from pipeline.control import ControlWatcher
from pipeline.database import Database, kept_alive
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Invalid
from pipeline.health import HttpServer
from pipeline.kafka import group_id
from pipeline.ledger.changes import follow_changes
from pipeline.pacific import pacific_date
from pipeline.postgres import (
    ANSWER_LIMIT_S,
    MAINTENANCE,
    PROBE_EVERY_S,
    REPORT,
    Connect,
    Connection,
    Limits,
)
from pipeline.process import StartError, load_settings, measure_loop_lag, run_service, run_until_stopped, watch
from pipeline.publisher import Publisher, open_publisher
from pipeline.retry import with_retries
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import open_topic_reader
from pipeline.watchdog import Heartbeat, Watchdog
from producer.api import Api, Sources
from producer.faust_app import ConsumerWatch, build_app, credentials, run_app, schedule
from producer.intake import SERVICE, Intake, Ports
from producer.lag_exporter import LagExporter, WatchedGroup
from producer.ledger_metrics import LedgerMetrics, Surroundings, export_halted
from producer.lost_pages import Lags, LostPages
from producer.moved_pages import MovedPages
from producer.outbox import LeaderTask, Outbox, QueueRules
from producer.plan_writer import PlanWriter
from producer.retention_timer import RetentionTimer
from producer.settings import ProducerSettings, allowed_qpm
from producer.status_report import StatusReader
from producer.sync_request import build_request

DAILY_ATTEMPTS = 600
"""About ten hours, one attempt a minute: an outage at the time of the daily request must not cost a day."""


def main() -> NoReturn:
    """Run until SIGTERM, and end the process with its exit code."""
    settings = load_settings(ProducerSettings, os.environ)  # noqa: TID251 - read once, here
    run_service(settings, "producer", lambda stop: _serve(settings, stop))


async def _serve(settings: ProducerSettings, stop: asyncio.Event) -> None:
    try:
        watcher = CatalogWatcher(settings.catalog)
        credentials(settings.kafka)  # checked before anything is reached
    except (CatalogError, Invalid) as error:
        raise StartError(str(error)) from error
    await require_topics(settings)
    await require_schema(settings, "gsc-producer")
    async with open_publisher(settings.kafka, "gsc-producer") as publisher:
        control = ControlWatcher(settings.kafka, settings.topic_prefix)
        await control.start()
        try:
            await _run(settings, watcher, publisher, control, stop)
        finally:
            await control.close()


async def _run(
    settings: ProducerSettings,
    watcher: CatalogWatcher,
    publisher: Publisher,
    control: ControlWatcher,
    stop: asyncio.Event,
) -> None:
    timeout_s = settings.postgres_timeout_s
    database = Database(settings.postgres_dsn.get_secret_value(), "gsc-producer")
    connect = partial(database.connection, Limits(timeout_s))
    lags = Lags(_lag(settings, "fetcher", BATCHES), _lag(settings, "sink", RESULTS))
    batches = BATCHES.full_name(settings.topic_prefix)
    plan_writer = PlanWriter(connect, lambda: watcher.catalog)
    leader_tasks: list[LeaderTask] = [
        plan_writer,
        LostPages(lags),
        MovedPages(lambda: watcher.catalog),
        _ledger_metrics(settings, watcher, control, lags, database),
        *_retention_timer(settings, watcher, database),
    ]
    rules = QueueRules(settings.max_queue_size, lambda: watcher.catalog.project_by_credential)
    outbox = Outbox(batches, publisher, control.halts, rules, leader_tasks)
    control.subscribe(outbox.notify)
    intake = _intake(settings, watcher.catalog, publisher, connect)
    app = build_app(settings, SYNC_REQUESTS.full_name(settings.topic_prefix), intake.process)
    reader = StatusReader(
        settings.kafka,
        settings.topic_prefix,
        settings.max_queue_size,
        lambda credential: allowed_qpm(settings, watcher.catalog, credential),
    )
    counting = partial(database.connection, REPORT)
    sources = Sources(connect, counting, control.halts, reader.read)
    api = Api(watcher.catalog, publisher, settings.topic_prefix, sources)
    watcher.subscribe(intake.replace_catalog)
    watcher.subscribe(api.replace_catalog)
    if settings.daily_cron:
        schedule(app, settings.daily_cron, lambda: _run_daily(settings, api))
    beats = Heartbeats(timeout_s, monotonic())
    watchdog = Watchdog([beats.consumer, beats.outbox, beats.exporter, control.heartbeat], monotonic())

    def on_ledger_change() -> None:
        outbox.notify()
        plan_writer.notify()

    def not_ready() -> str | None:
        return outbox.trouble or beats.postgres.stalled(monotonic()) or control.unreadable(monotonic())

    server = HttpServer(
        settings,
        SERVICE,
        not_ready=not_ready,
        not_live=lambda: watchdog.stalled(monotonic()),
        routes=api.routes(settings),
    )
    async with server:
        exporter = _exporter(
            settings, lags, lambda: export_halted(control.halts, watcher.catalog.project_by_credential)
        )
        await run_until_stopped(
            stop,
            run_app(app, intake, stop, ConsumerWatch(beats.consumer, control.readable)),
            outbox.run(stop, _connect_publisher(database, timeout_s, beats.postgres), beats.outbox),
            follow_changes(stop, connect, on_ledger_change),
            exporter.run(stop, beats.exporter),
            control.followed(stop),
            watcher.run(stop),
            watch(stop, watchdog),
            measure_loop_lag(stop),
        )


def _intake(settings: ProducerSettings, catalog: Catalog, publisher: Publisher, connect: Connect) -> Intake:
    ports = Ports(settings.topic_prefix, publisher, connect)
    return Intake(catalog, ports, DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_ratio))


class Heartbeats:
    """The heartbeats of the producer's loops. Each limit is longer than what the loop may wait for in one round."""

    def __init__(self, postgres_timeout_s: float, now: float) -> None:
        self.postgres = Heartbeat("PostgreSQL", ANSWER_LIMIT_S, now)
        """Decides readiness: beats whenever the outbox's connection gets an answer."""
        self.consumer = Heartbeat("Faust's consumer", 120.0, now)
        self.outbox = Heartbeat("outbox", 120.0 + 3 * postgres_timeout_s, now)
        self.exporter = Heartbeat("lag exporter", 120.0, now)


def _connect_publisher(database: Database, timeout_s: float, answers: Heartbeat) -> Connect:
    """Return how to connect for the leader's lock: the server releases it when nothing is heard of its holder."""
    limits = Limits(timeout_s, idle_s=timeout_s)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        async with (
            database.connection(limits, lambda: answers.beat(monotonic())) as conn,
            kept_alive(conn, min(timeout_s / 4, PROBE_EVERY_S)),
        ):
            yield conn

    return connect


async def _run_daily(settings: ProducerSettings, api: Api) -> None:
    """Request the last days. Every replica runs this: requesting twice on a day changes nothing."""

    async def run() -> None:
        today = pacific_date(now())
        fields = {"all": True, "days": settings.daily_days}
        await api.request_sync(build_request(fields, now=now(), today=today, requested_by="timer"))

    await with_retries(run, attempts=DAILY_ATTEMPTS)


def _lag(settings: ProducerSettings, service: str, topic: Topic) -> LagReader:
    prefix = settings.topic_prefix
    return LagReader(settings.kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))


def _retention_timer(settings: ProducerSettings, watcher: CatalogWatcher, database: Database) -> list[RetentionTimer]:
    """Return the timer, if its setting is not empty."""
    connect = partial(database.connection, MAINTENANCE)
    crons = filter(None, [settings.retention_cron])
    return [RetentionTimer(cron, connect, lambda: watcher.catalog, settings.superseded_days) for cron in crons]


def _ledger_metrics(
    settings: ProducerSettings, watcher: CatalogWatcher, control: ControlWatcher, lags: Lags, database: Database
) -> LedgerMetrics:
    surroundings = Surroundings(
        lags.fetchers,
        control.halts,
        lambda: watcher.catalog.project_by_credential,
        settings.max_queue_size,
        lambda credential: allowed_qpm(settings, watcher.catalog, credential),
    )
    return LedgerMetrics(partial(database.connection, REPORT), surroundings)


def _exporter(settings: ProducerSettings, lags: Lags, export_halted: Callable[[], None]) -> LagExporter:
    prefix = settings.topic_prefix

    def watched(service: str, topic: Topic, lag: Lag) -> WatchedGroup:
        return WatchedGroup(service, lag, lambda: open_topic_reader(settings.kafka, prefix, topic.full_name(prefix)))

    return LagExporter(
        watched("fetcher", BATCHES, lags.fetchers),
        [
            watched("sink", RESULTS, lags.sink),
            watched(SERVICE, SYNC_REQUESTS, _lag(settings, SERVICE, SYNC_REQUESTS)),
        ],
        export_halted,
    )


if __name__ == "__main__":
    main()
