"""The status of the pipeline, as `gsc-stream status --json` prints it and `GET /v1/status` answers it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import NamedTuple

from msgspec import structs

from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.consumer_lag import LagReader
from pipeline.contracts.halts import end_of
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import NOTHING_TO_DO, PartitionStatus, status_of
from pipeline.contracts.records import PartitionLag
from pipeline.contracts.resources import (
    CredentialStatus,
    PartitionReport,
    PropertyStatus,
    RunProgress,
    ServiceName,
    ServiceStatus,
    StatusReport,
)
from pipeline.contracts.text import to_second
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS, Topic
from pipeline.kafka import group_id
from pipeline.kafka_admin import group_sizes
from pipeline.ledger import days, pages, runs
from pipeline.postgres import Connection
from pipeline.retry import with_retries
from producer.credential_waits import CredentialPages, PendingReason, Queue, credential_pages
from producer.ledger_metrics import QueueSources, read_queue

NOTHING_PUBLISHED = "no batches: see why the pages of the credentials wait"
"""Instead of `NOTHING_TO_DO` while pages are pending."""
TOPICS: Mapping[ServiceName, Topic] = {"producer": SYNC_REQUESTS, "fetcher": BATCHES, "sink": RESULTS}

ServiceLags = Mapping[ServiceName, Mapping[int, PartitionLag]]


class PropertyPages(NamedTuple):
    """What the ledger has of a property."""

    property: str
    newest_complete_day: date | None
    unfinished: int


@dataclass(frozen=True)
class LedgerView:
    """What the ledger has of everything."""

    at: datetime
    queue: Queue
    properties: Sequence[PropertyPages]
    pages: Mapping[str, int]
    unchanged_pages: int
    days: Mapping[str, int]
    planning: Sequence[RunProgress]

    @cached_property
    def credentials(self) -> Mapping[str, CredentialPages]:
        """The credentials with unfinished pages."""
        return {item.credential: item for item in credential_pages(self.queue)}


class StatusReader:
    """Reads the status from Kafka and the ledger."""

    def __init__(
        self, kafka: Mapping[str, str], prefix: str, max_queue_size: int, quota: Callable[[str], float]
    ) -> None:
        """`quota` returns the calls a minute that a credential may make."""
        self._kafka = kafka
        self._prefix = prefix
        self._max_queue_size = max_queue_size
        self._quota = quota
        self._readers = {
            service: LagReader(kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))
            for service, topic in TOPICS.items()
        }

    async def read(self, conn: Connection, halts: Sequence[Control], catalog: Catalog | None) -> StatusReport:
        """Return the status. `halts` are the active ones. Raises Retryable."""
        lags = {
            service: dict(sorted((await with_retries(reader.read)).items()))
            for service, reader in self._readers.items()
        }
        groups = {group_id(self._prefix, service): service for service in TOPICS}
        sizes = await group_sizes(self._kafka, list(groups))
        statuses = {number: status_of(lag, now()) for number, lag in lags["fetcher"].items()}
        projects = catalog.project_by_credential if catalog else {}
        queue = await read_queue(conn, QueueSources(halts, projects, statuses, self._max_queue_size))
        ledger = await _read_ledger(conn, queue)
        services = [
            ServiceStatus(service, sizes[group], sum(item.lag for item in lags[service].values()))
            for group, service in groups.items()
        ]
        properties = property_statuses(ledger, catalog)
        return StatusReport(
            at=to_second(ledger.at),
            services=services,
            has_leader=queue.has_leader,
            credentials=credential_statuses(ledger, properties, catalog, self._quota),
            properties=properties,
            partitions=partition_reports(lags, statuses, pending=bool(queue.groups)),
            planning=list(ledger.planning),
            pages=dict(ledger.pages),
            unchanged_pages=ledger.unchanged_pages,
            days=dict(ledger.days),
            halts=[halt.scope for halt in halts],
        )


async def _read_ledger(conn: Connection, queue: Queue) -> LedgerView:
    newest, unfinished = await days.newest_complete(conn), await pages.unfinished_by_property(conn)
    planning = [await runs.progress(conn, run.run_id) for run in await runs.unplanned(conn)]
    return LedgerView(
        now(),
        queue,
        [PropertyPages(url, newest.get(url), unfinished.get(url, 0)) for url in sorted({*newest, *unfinished})],
        await pages.count_by_state(conn),
        await pages.count_unchanged(conn),
        (await days.count(conn))._asdict(),
        [run for run in planning if run],
    )


def partition_reports(
    lags: ServiceLags, statuses: Mapping[int, PartitionStatus], *, pending: bool
) -> list[PartitionReport]:
    """Return the status of every partition of `gsc.batches`, as reported by its owner. Pure."""
    sink = lags["sink"]
    return [
        PartitionReport(
            partition=number,
            state=item.state,
            lag=lags["fetcher"][number].lag,
            sink_lag=sink[number].lag if number in sink else 0,
            reason=NOTHING_PUBLISHED if pending and item.reason == NOTHING_TO_DO else item.reason,
            until=item.until,
            reported_at=item.at,
        )
        for number, item in statuses.items()
    ]


def property_statuses(ledger: LedgerView, catalog: Catalog | None) -> list[PropertyStatus]:
    """Return the properties of the ledger and of the catalog, with why their pages wait. Pure."""
    known = {item.property: item for item in ledger.properties}
    credentials = {item.url: item.credential for item in catalog.properties} if catalog else {}
    halts = {
        halt.scope.removeprefix("property:"): halt for halt in ledger.queue.halts if halt.scope.startswith("property:")
    }
    waits = {name: item.wait for name, item in ledger.credentials.items()}
    return [
        _property_status(known.get(url, PropertyPages(url, None, 0)), credentials.get(url, ""), halts.get(url), waits)
        for url in sorted({*known, *credentials})
    ]


def _property_status(
    item: PropertyPages, credential: str, halt: Control | None, waits: Mapping[str, PendingReason]
) -> PropertyStatus:
    reason, until = "", None
    if halt:
        reason, until = f"{halt.scope} is halted: {halt.reason}", end_of([halt])
    elif item.unfinished and credential in waits:
        reason, until = waits[credential].reason, waits[credential].until
    return PropertyStatus(
        property=item.property,
        credential=credential,
        newest_complete_day=item.newest_complete_day,
        unfinished=item.unfinished,
        reason=reason,
        until=until,
    )


def credential_statuses(
    ledger: LedgerView, properties: Sequence[PropertyStatus], catalog: Catalog | None, quota: Callable[[str], float]
) -> list[CredentialStatus]:
    """Return the credentials of the catalog, and those with unfinished pages. Pure."""
    waiting = ledger.credentials
    days_of: dict[str, list[date | None]] = {item.id: [] for item in (catalog.credentials if catalog else ())}
    for item in properties:
        if item.credential:
            days_of.setdefault(item.credential, []).append(item.newest_complete_day)
    finished = {
        name: CredentialStatus(
            credential=name,
            properties=len(days_of.get(name, [])),
            newest_complete_day=_oldest(days_of.get(name, [])),
        )
        for name in sorted({*days_of, *waiting})
    }
    return [
        _with_pages(status, waiting[name], _eta_s(waiting[name], quota(name), ledger.at)) if name in waiting else status
        for name, status in finished.items()
    ]


def _with_pages(status: CredentialStatus, item: CredentialPages, eta_s: float | None) -> CredentialStatus:
    return structs.replace(
        status,
        pending=item.pending,
        published=item.published,
        oldest_s=round(item.oldest_s),
        waits_for=item.wait.kind,
        reason=item.wait.reason,
        until=item.wait.until,
        eta_s=eta_s,
    )


def _oldest(newest: Sequence[date | None]) -> date | None:
    known = [day for day in newest if day is not None]
    return min(known) if known and len(known) == len(newest) else None


def _eta_s(item: CredentialPages, quota: float, at: datetime) -> float | None:
    """Return the seconds to the end at the quota, after the end of a wait; None while the wait has no known end."""
    if item.wait.kind in {"halted", "no_leader", "stalled", "stopped"} and item.wait.until is None:
        return None
    wait_s = max(0.0, (item.wait.until - at).total_seconds()) if item.wait.until else 0.0
    return round(wait_s + 60 * (item.pending + item.published) / quota)
