"""Entry point of the fetcher."""

import asyncio
import os

from fetcher.backpressure import SinkBackpressure
from fetcher.credentials import AccessTokens
from fetcher.http_batch import BatchTransport
from fetcher.ports import Ports
from fetcher.rate_limiter import RateLimiter
from fetcher.results import SERVICE, ResultPublisher
from fetcher.search_console import SearchConsole
from fetcher.service import Capacity, Fetcher
from fetcher.settings import FetcherSettings
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.clock import monotonic
from pipeline.consumer_group import GroupConfig, GroupMember
from pipeline.consumer_lag import LagReader
from pipeline.contracts.topics import BATCHES, RESULTS
from pipeline.control import ControlWatcher
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Invalid, PipelineError
from pipeline.health import HttpServer
from pipeline.kafka import group_id
from pipeline.kafka_admin import partition_count
from pipeline.process import StartError, load_settings, run_service, run_until_stopped, stall_reason
from pipeline.publisher import Publisher
from pipeline.startup_checks import require_topics


def main() -> int:
    """Run until SIGTERM; returns the exit code."""
    settings = load_settings(FetcherSettings, os.environ)  # noqa: TID251 - read once, here
    return run_service(settings, "fetcher", lambda stop: _serve(settings, stop))


async def _serve(settings: FetcherSettings, stop: asyncio.Event) -> None:
    try:
        catalog = read_catalog(settings.catalog)
        settings.limits(catalog).check()
        tokens = AccessTokens(catalog.credentials)
    except (CatalogError, Invalid) as error:
        raise StartError(str(error)) from error
    await require_topics(settings)
    limiter = await _limiter(settings, catalog)
    results = LagReader(
        settings.kafka, group=group_id(settings.topic_prefix, "sink"), topic=RESULTS.full_name(settings.topic_prefix)
    )
    pressure = SinkBackpressure(results)
    publisher = Publisher(settings.kafka, "gsc-fetcher")
    control = ControlWatcher(settings.kafka, settings.topic_prefix)
    await control.start()
    try:
        async with SearchConsole(
            settings.api_root, timeout_s=settings.http_timeout_s, connections=settings.max_concurrency
        ) as search_console:
            prefix = settings.topic_prefix
            group = GroupConfig(group_id(prefix, "fetcher"), BATCHES.full_name(prefix), settings.session_timeout_s)
            member = GroupMember(settings.kafka, group)
            delivery = ResultPublisher(publisher, settings.topic_prefix, settings.paging)
            ports = Ports(_transport(settings, search_console), tokens, delivery, control, pressure, member)
            bound = DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_ratio)
            fetcher = Fetcher(catalog, _capacity(settings), limiter, ports, bound)
            control.subscribe(fetcher.halts_changed)
            await _consume(settings, fetcher, member, pressure, stop)
    finally:
        await control.close()
        await publisher.close()
        tokens.close()


async def _limiter(settings: FetcherSettings, catalog: Catalog) -> RateLimiter:
    """The project's quota is shared by partitions: by as many as there really are."""
    try:
        count = await partition_count(settings.kafka, BATCHES.full_name(settings.topic_prefix))
        return RateLimiter(settings.limits(catalog), count)
    except PipelineError as error:
        raise StartError(str(error)) from error


def _transport(settings: FetcherSettings, search_console: SearchConsole) -> SearchConsole | BatchTransport:
    if settings.transport == "plain":
        return search_console
    return BatchTransport(search_console, size=settings.batch_size, linger_s=settings.batch_linger_ms / 1000)


def _capacity(settings: FetcherSettings) -> Capacity:
    return Capacity(settings.max_concurrency, settings.max_in_flight, settings.max_attempts, settings.drain_s)


async def _consume(
    settings: FetcherSettings, fetcher: Fetcher, member: GroupMember, pressure: SinkBackpressure, stop: asyncio.Event
) -> None:
    face = HttpServer(
        settings,
        SERVICE,
        not_ready=lambda: None if member.lease_until > monotonic() else "no partitions, or no lease on them",
        not_live=lambda: stall_reason(member.last_poll, monotonic()),
    )
    await face.start()
    try:
        await run_until_stopped(stop, member.run(stop, fetcher), fetcher.run(stop), pressure.watch(stop))
    finally:
        await face.stop()


if __name__ == "__main__":
    raise SystemExit(main())
