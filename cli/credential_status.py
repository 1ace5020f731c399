"""How many pages each credential has pending and published, and why they wait. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from pipeline.contracts.halts import credential_scopes, end_of
from pipeline.contracts.messages import DEFAULT_PROJECT, Control
from pipeline.contracts.partition_status import PartitionStatus
from pipeline.contracts.records import PendingGroup, UnfinishedPages
from producer.queue_shares import Shares, halted_scopes, share_size


class PendingReason(NamedTuple):
    """Why pages wait, and until when, if that is known."""

    reason: str
    until: datetime | None = None


@dataclass(frozen=True)
class Queue:
    """The queue of published pages, and what is known about those who fill and empty it."""

    groups: Sequence[PendingGroup]
    unfinished: Sequence[UnfinishedPages]
    halts: Sequence[Control]
    """Active halts."""
    projects: Mapping[str, str]
    """The Google Cloud project of each credential, as far as it is known."""
    publishable: Collection[str]
    """Credentials that have a pending page outside halted properties."""
    partitions: Mapping[int, PartitionStatus]
    """The fetchers' statuses."""
    max_queue_size: int
    has_leader: bool
    """Whether a producer holds the leader's lock."""


def credential_rows(queue: Queue) -> list[dict[str, Any]]:
    """Return one row for each credential with unfinished pages, as JSON."""
    rows = []
    for credential in sorted({item.credential for item in queue.unfinished}):
        items = [item for item in queue.unfinished if item.credential == credential]
        wait = _wait_of(credential, items, queue)
        rows.append(
            {
                "credential": credential,
                "pending": sum(item.pending for item in items),
                "published": sum(item.published for item in items),
                "oldest_s": round(max(item.age_s for item in items)),
                "reason": wait.reason,
                "until": msgspec.to_builtins(wait.until),
            }
        )
    return rows


def _wait_of(credential: str, items: Sequence[UnfinishedPages], queue: Queue) -> PendingReason:
    waits = (
        _halt(credential, queue),
        None if queue.has_leader else PendingReason("no producer publishes pages"),
        _full_share(credential, items, queue),
        _halted_properties(credential, queue),
        _fetchers(items, queue),
    )
    return next((wait for wait in waits if wait is not None), PendingReason(""))


def _halt(credential: str, queue: Queue) -> PendingReason | None:
    """Return the halt of the credential, or that of every run that it has pending pages of."""
    groups = [group for group in queue.groups if group.credential == credential]
    halted = halted_scopes(queue.halts, queue.projects)
    scopes = set(credential_scopes(credential, queue.projects.get(credential, DEFAULT_PROJECT)))
    if groups and all(map(halted.contains, groups)):
        scopes |= {f"run:{group.run_id}" for group in groups}
    halts = [halt for halt in queue.halts if halt.scope in scopes]
    if not halts:
        return None
    return PendingReason("; ".join(f"{halt.scope} is halted: {halt.reason}" for halt in halts), end_of(halts))


def _full_share(credential: str, items: Sequence[UnfinishedPages], queue: Queue) -> PendingReason | None:
    halted = halted_scopes(queue.halts, queue.projects)
    running = [group for group in queue.groups if not halted.contains(group)]
    published = sum(item.published for item in items)
    shares = Shares(share_size(queue.max_queue_size, running), {credential: published})
    if not any(shares.is_full(group) for group in running if group.credential == credential):
        return None
    fetchers = _fetchers(items, queue)
    reason = f"its share of the queue is full, {published} of {shares.size} pages"
    return PendingReason(f"{reason}: {fetchers.reason}", fetchers.until) if fetchers else PendingReason(reason)


def _halted_properties(credential: str, queue: Queue) -> PendingReason | None:
    if credential in queue.publishable or credential not in {group.credential for group in queue.groups}:
        return None
    return PendingReason("its pending pages are of halted properties")


def _fetchers(items: Iterable[UnfinishedPages], queue: Queue) -> PendingReason | None:
    """Return what the partitions of the published pages wait for."""
    numbers = sorted({number for item in items for number in item.partitions})
    statuses = {number: queue.partitions[number] for number in numbers if number in queue.partitions}
    for number, status in statuses.items():
        if status.state != "OK":
            return PendingReason(f"partition {number} is {status.state}: {status.reason}", status.until)
    return None
