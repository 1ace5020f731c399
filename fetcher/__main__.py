"""Entry point of the fetcher: reads the settings, builds the objects, and runs them."""

import asyncio
import gc
import os
from typing import NoReturn

from fetcher.backpressure import SinkBackpressure
from fetcher.credential_file import credential_problems
from fetcher.credentials import AccessTokens
from fetcher.dead_letter_limits import DeadLetterLimits
from fetcher.http_batch import BatchTransport
from fetcher.ports import Ports
from fetcher.quota_limits import QuotaLimits
from fetcher.rate_limiter import RateLimiter
from fetcher.results import SERVICE, ResultPublisher
from fetcher.search_console import SearchConsole
from fetcher.service import Fetcher
from fetcher.settings import FetcherSettings
from fetcher.token_hosts import TokenHosts
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_watcher import CatalogWatcher
from pipeline.clock import monotonic
from pipeline.consumer_group import GroupMember
from pipeline.consumer_lag import LagReader
from pipeline.contracts.topics import BATCHES, RESULTS
from pipeline.control import ControlWatcher
from pipeline.errors import PipelineError
from pipeline.group_config import GroupConfig
from pipeline.health import HttpServer
from pipeline.kafka import group_id
from pipeline.kafka_admin import partition_count
from pipeline.log import logger
from pipeline.process import STOP_S, StartError, load_settings, run_service, run_until_stopped, watch
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_topics
from pipeline.watchdog import Watchdog

GC_THRESHOLD = 50_000
"""A full page makes 25,000 objects that the garbage collector tracks; with Python's 700 it would run 36 times."""
_log = logger(__name__)


def main() -> NoReturn:
    """Run until SIGTERM, and end the process with its exit code."""
    gc.freeze()  # what was imported lives as long as the process: no collection scans it
    gc.set_threshold(GC_THRESHOLD)
    settings = load_settings(FetcherSettings, os.environ)  # noqa: TID251 - read once, here
    run_service(settings, SERVICE, lambda stop: _serve(settings, stop), stop_s=STOP_S + settings.drain_s)


async def _serve(settings: FetcherSettings, stop: asyncio.Event) -> None:
    watcher = _watch_catalog(settings)
    catalog = watcher.catalog
    tokens = _open_tokens(catalog, settings.allowed_token_hosts)
    await require_topics(settings)
    partitions = await _partition_count(settings)
    limiter = RateLimiter(_log_unserved(settings.limits(catalog), partitions), partitions)
    control = ControlWatcher(settings.kafka, settings.topic_prefix)
    await control.start()
    try:
        async with (
            open_publisher(settings.kafka, "gsc-fetcher") as publisher,
            SearchConsole(settings.api_root, timeout_s=settings.http_timeout_s, connections=None) as search_console,
        ):
            member = _member(settings)
            ports = Ports(
                api=_transport(settings, search_console),
                tokens=tokens,
                results=ResultPublisher(publisher, settings.topic_prefix, settings.paging),
                control=control,
                backpressure=SinkBackpressure(_sink_lag(settings)),
                member=member,
            )
            dead_letters = DeadLetterLimits(settings.dead_letter_limit, settings.dead_letter_ratio)
            fetcher = Fetcher(catalog, settings.capacity, limiter, ports, dead_letters)
            control.subscribe(fetcher.halts_changed)
            watcher.subscribe(
                lambda catalog: limiter.replace_limits(_log_unserved(settings.limits(catalog), partitions), monotonic())
            )
            watcher.subscribe(lambda catalog: tokens.replace_credentials(catalog.credentials))
            watcher.subscribe(fetcher.replace_catalog)  # last: its batches need the others
            loops = (fetcher.call_loop, fetcher.commit_loop, member, control, ports.backpressure)
            watchdog = Watchdog([loop.heartbeat for loop in loops], monotonic())
            async with _health(settings, member, control, watchdog):
                await run_until_stopped(
                    stop,
                    member.run(stop, fetcher),
                    fetcher.run(stop),
                    ports.backpressure.watch(stop),
                    control.followed(stop),
                    watcher.run(stop),
                    watch(stop, watchdog),
                )
    finally:
        await control.close()
        tokens.close()


def _watch_catalog(settings: FetcherSettings) -> CatalogWatcher:
    """Return the catalog, followed."""
    try:
        return CatalogWatcher(settings.catalog)
    except CatalogError as error:
        raise StartError(str(error)) from error


def _open_tokens(catalog: Catalog, hosts: TokenHosts) -> AccessTokens:
    """Return the access tokens. A key file that cannot be used halts its credential when it is needed."""
    for problem in credential_problems(catalog.credentials, hosts):
        _log.error("credential_unusable", error=problem)
    return AccessTokens(catalog.credentials, hosts)


async def _partition_count(settings: FetcherSettings) -> int:
    """Return how many partitions the topic really has, since they share the projects' quotas."""
    try:
        return await partition_count(settings.kafka, BATCHES.full_name(settings.topic_prefix))
    except PipelineError as error:
        raise StartError(str(error)) from error


def _log_unserved(limits: QuotaLimits, partitions: int) -> QuotaLimits:
    """Log the projects whose batches wait, since their quota is too small; return the limits."""
    for problem in limits.unserved(partitions):
        _log.error("quota_too_small", error=problem)
    return limits


def _sink_lag(settings: FetcherSettings) -> LagReader:
    prefix = settings.topic_prefix
    return LagReader(settings.kafka, group=group_id(prefix, "sink"), topic=RESULTS.full_name(prefix))


def _member(settings: FetcherSettings) -> GroupMember:
    prefix = settings.topic_prefix
    group = GroupConfig(
        group_id(prefix, SERVICE), BATCHES.full_name(prefix), settings.session_timeout_s, revoke_s=settings.drain_s
    )
    return GroupMember(settings.kafka, group)


def _transport(settings: FetcherSettings, search_console: SearchConsole) -> SearchConsole | BatchTransport:
    if settings.transport == "plain":
        return search_console
    return BatchTransport(search_console, size=settings.batch_size, linger_s=settings.batch_linger_ms / 1000)


def _health(settings: FetcherSettings, member: GroupMember, control: ControlWatcher, watchdog: Watchdog) -> HttpServer:
    return HttpServer(
        settings,
        SERVICE,
        not_ready=lambda: member.not_ready(monotonic()) or control.unreadable(monotonic()),
        not_live=lambda: watchdog.stalled(monotonic()),
    )


if __name__ == "__main__":
    main()
