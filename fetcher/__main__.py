"""Entry point of the fetcher."""

import asyncio
import os

from fetcher.credentials import Tokens
from fetcher.delivering import SERVICE, Delivery
from fetcher.gathering import Gathering
from fetcher.limiting import Limiter
from fetcher.ports import Ports
from fetcher.pressure import SinkPressure
from fetcher.search_console import SearchConsole
from fetcher.service import Capacity, Fetcher
from fetcher.settings import FetcherSettings
from pipeline.bounding import DeadLetterBound
from pipeline.catalog import Catalog, CatalogError, read_catalog
from pipeline.clock import monotonic
from pipeline.consuming import Group, Membership
from pipeline.contracts.topics import BATCHES, RESULTS
from pipeline.control import ControlWatcher
from pipeline.errors import Invalid, PipelineError
from pipeline.health import HttpFace
from pipeline.kafka import Publisher, group_id
from pipeline.kafka_admin import LagReader, partition_count
from pipeline.running import StartError, load, require_topics, run, stalled, until_stopped


def main() -> int:
    """Run until SIGTERM; returns the exit code."""
    settings = load(FetcherSettings, os.environ)  # noqa: TID251 - read once, here
    return run(settings, "fetcher", lambda stop: _serve(settings, stop))


async def _serve(settings: FetcherSettings, stop: asyncio.Event) -> None:
    try:
        catalog = read_catalog(settings.catalog)
        settings.limits(catalog).check()
        tokens = Tokens(catalog.credentials)
    except (CatalogError, Invalid) as error:
        raise StartError(str(error)) from error
    await require_topics(settings)
    limiter = await _limiter(settings, catalog)
    results = LagReader(
        settings.kafka, group=group_id(settings.topic_prefix, "sink"), topic=RESULTS.full_name(settings.topic_prefix)
    )
    pressure = SinkPressure(results)
    publisher = Publisher(settings.kafka, "gsc-fetcher")
    control = ControlWatcher(settings.kafka, settings.topic_prefix)
    await control.start()
    try:
        async with SearchConsole(
            settings.api_root, timeout_s=settings.http_timeout_s, connections=settings.max_concurrency
        ) as console:
            delivery = Delivery(publisher, settings.topic_prefix, settings.paging)
            ports = Ports(_transport(settings, console), tokens, delivery, control, pressure)
            bound = DeadLetterBound(settings.dead_letter_limit, settings.dead_letter_ratio)
            fetcher = Fetcher(catalog, _capacity(settings), limiter, ports, bound)
            control.subscribe(fetcher.halts_changed)
            await _consume(settings, fetcher, pressure, stop)
    finally:
        await control.close()
        await publisher.close()
        tokens.close()


async def _limiter(settings: FetcherSettings, catalog: Catalog) -> Limiter:
    """The project's quota is shared by partitions: by as many as there really are."""
    try:
        count = await partition_count(settings.kafka, BATCHES.full_name(settings.topic_prefix))
        return Limiter(settings.limits(catalog), count)
    except PipelineError as error:
        raise StartError(str(error)) from error


def _transport(settings: FetcherSettings, console: SearchConsole) -> SearchConsole | Gathering:
    if settings.transport == "plain":
        return console
    return Gathering(console, size=settings.batch_size, linger_s=settings.batch_linger_ms / 1000)


def _capacity(settings: FetcherSettings) -> Capacity:
    return Capacity(settings.max_concurrency, settings.max_in_flight, settings.max_attempts, settings.drain_s)


async def _consume(settings: FetcherSettings, fetcher: Fetcher, pressure: SinkPressure, stop: asyncio.Event) -> None:
    prefix = settings.topic_prefix
    group = Group(group_id(prefix, "fetcher"), BATCHES.full_name(prefix), settings.session_timeout_s)
    membership = Membership(settings.kafka, group, fetcher)
    fetcher.member = membership
    face = HttpFace(
        settings,
        SERVICE,
        not_ready=lambda: None if membership.lease_until > monotonic() else "no partitions, or no lease on them",
        not_live=lambda: stalled(membership.last_poll, monotonic()),
    )
    await face.start()
    try:
        await until_stopped(stop, membership.run(stop), fetcher.run(stop), pressure.watch(stop))
    finally:
        await face.stop()


if __name__ == "__main__":
    raise SystemExit(main())
