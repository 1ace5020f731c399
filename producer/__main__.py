"""Entry point of the producer."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from producer.ledger_metrics import LedgerMetrics, MetricSources, export_halted
from producer.lost_pages import GroupLags, LostPages
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


@dataclass(frozen=True)
class Context:
    """What the parts of the producer are built from."""

    settings: ProducerSettings
    watcher: CatalogWatcher
    publisher: Publisher
    control: ControlWatcher
    database: Database
    lags: GroupLags

    @property
    def connect(self) -> Connect:
        """How to connect for short statements."""
        return partial(self.database.connection, Limits(self.settings.postgres_timeout_s))

    @property
    def connect_for_counts(self) -> Connect:
        """How to connect for statements that count the whole ledger."""
        return partial(self.database.connection, REPORT)

    def catalog(self) -> Catalog:
        """Return the catalog in force."""
        return self.watcher.catalog

    def projects(self) -> Mapping[str, str]:
        """Return the Google Cloud project of each credential."""
        return self.catalog().project_by_credential

    def allowed_qpm(self, credential: str) -> float:
        """Return the calls a minute that a credential may make."""
        return allowed_qpm(self.settings, self.catalog(), credential)


async def _serve(settings: ProducerSettings, stop: asyncio.Event) -> None:
    try:
        watcher = CatalogWatcher(settings.catalog)
        credentials(settings.kafka)  # checked before anything is reached
    except (CatalogError, Invalid) as error:
        raise StartError(str(error)) from error
    await require_topics(settings)
    await require_schema(settings, "gsc-producer")
    database = Database(settings.postgres_dsn.get_secret_value(), "gsc-producer")
    lags = GroupLags(_lag(settings, "fetcher", BATCHES), _lag(settings, "sink", RESULTS))
    async with open_publisher(settings.kafka, "gsc-producer") as publisher:
        control = ControlWatcher(settings.kafka, settings.topic_prefix)
        await control.start()
        try:
            await _run(Context(settings, watcher, publisher, control, database, lags), stop)
        finally:
            await control.close()


async def _run(context: Context, stop: asyncio.Event) -> None:
    settings, watcher, control = context.settings, context.watcher, context.control
    plan_writer = PlanWriter(context.connect, context.catalog)
    outbox = _outbox(context, plan_writer)
    intake, api = _intake(context), _api(context)
    app = build_app(settings, SYNC_REQUESTS.full_name(settings.topic_prefix), intake.process)
    if settings.daily_cron:
        schedule(app, settings.daily_cron, lambda: _run_daily(settings, api))
    beats = Heartbeats(settings.postgres_timeout_s, monotonic())
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
        await run_until_stopped(
            stop,
            run_app(app, intake, stop, ConsumerWatch(beats.consumer, control.readable)),
            outbox.run(stop, _connect_leader(context, beats.postgres), beats.outbox),
            follow_changes(stop, context.connect, on_ledger_change),
            _exporter(context).run(stop, beats.exporter),
            control.followed(stop),
            watcher.run(stop),
            watch(stop, watchdog),
            measure_loop_lag(stop),
        )


def _outbox(context: Context, plan_writer: PlanWriter) -> Outbox:
    settings, control = context.settings, context.control
    tasks: list[LeaderTask] = [
        plan_writer,
        LostPages(context.lags),
        MovedPages(context.catalog),
        _ledger_metrics(context),
        *_retention_timer(context),
    ]
    rules = QueueRules(settings.max_queue_size, context.projects)
    outbox = Outbox(BATCHES.full_name(settings.topic_prefix), context.publisher, control.halts, rules, tasks)
    control.subscribe(outbox.notify)
    return outbox


def _intake(context: Context) -> Intake:
    settings = context.settings
    ports = Ports(settings.topic_prefix, context.publisher, context.connect)
    limit = DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_ratio)
    intake = Intake(context.catalog(), ports, limit)
    context.watcher.subscribe(intake.replace_catalog)
    return intake


def _api(context: Context) -> Api:
    settings = context.settings
    reader = StatusReader(settings.kafka, settings.topic_prefix, settings.max_queue_size, context.allowed_qpm)
    sources = Sources(context.connect, context.connect_for_counts, context.control.halts, reader.read)
    api = Api(context.catalog(), context.publisher, settings.topic_prefix, sources)
    context.watcher.subscribe(api.replace_catalog)
    return api


class Heartbeats:
    """The heartbeats of the producer's loops. Each limit is longer than what the loop may wait for in one pass."""

    def __init__(self, postgres_timeout_s: float, now: float) -> None:
        self.postgres = Heartbeat("PostgreSQL", ANSWER_LIMIT_S, now)
        """Decides readiness: beats whenever the outbox's connection gets an answer."""
        self.consumer = Heartbeat("Faust's consumer", 120.0, now)
        self.outbox = Heartbeat("outbox", 120.0 + 3 * postgres_timeout_s, now)
        self.exporter = Heartbeat("lag exporter", 120.0, now)


def _connect_leader(context: Context, answers: Heartbeat) -> Connect:
    """Return how to connect for the leader's lock: the server releases it when nothing is heard of its holder."""
    timeout_s = context.settings.postgres_timeout_s
    limits = Limits(timeout_s, idle_s=timeout_s)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        async with (
            context.database.connection(limits, lambda: answers.beat(monotonic())) as conn,
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


def _retention_timer(context: Context) -> list[RetentionTimer]:
    """Return the timer, if its setting is not empty."""
    settings = context.settings
    if not settings.retention_cron:
        return []
    connect = partial(context.database.connection, MAINTENANCE)
    return [RetentionTimer(settings.retention_cron, connect, context.catalog, settings.superseded_days)]


def _ledger_metrics(context: Context) -> LedgerMetrics:
    sources = MetricSources(
        context.lags.fetchers,
        context.control.halts,
        context.projects,
        context.settings.max_queue_size,
        context.allowed_qpm,
    )
    return LedgerMetrics(context.connect_for_counts, sources)


def _exporter(context: Context) -> LagExporter:
    kafka, prefix = context.settings.kafka, context.settings.topic_prefix

    def watched(service: str, topic: Topic, lag: Lag) -> WatchedGroup:
        return WatchedGroup(service, lag, lambda: open_topic_reader(kafka, prefix, topic.full_name(prefix)))

    return LagExporter(
        watched("fetcher", BATCHES, context.lags.fetchers),
        [
            watched("sink", RESULTS, context.lags.sink),
            watched(SERVICE, SYNC_REQUESTS, _lag(context.settings, SERVICE, SYNC_REQUESTS)),
        ],
        lambda: export_halted(context.control.halts, context.projects()),
    )


if __name__ == "__main__":
    main()
