"""How many pages each credential has pending and published, and why they wait. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, NamedTuple

from pipeline.contracts.halts import credential_scopes, end_of
from pipeline.contracts.messages import DEFAULT_PROJECT, Control
from pipeline.contracts.partition_status import MAX_WAITS, PartitionStatus, State
from pipeline.contracts.records import PendingGroup, UnfinishedPages
from producer.queue_shares import HaltedScopes, Shares, halted_scopes, share_size

Kind = Literal["", "halted", "no_leader", "share_full", "throttled", "outage", "backpressured", "stalled", "stopped"]
"""What pages wait for; empty: for nothing but their turn. The last five are what a fetcher reports."""


class PendingReason(NamedTuple):
    """Why pages wait, and until when, if that is known."""

    kind: Kind
    reason: str = ""
    until: datetime | None = None


class CredentialPages(NamedTuple):
    """The unfinished pages of a credential, and why they wait."""

    credential: str
    pending: int
    published: int
    oldest_s: float
    wait: PendingReason


_KINDS: Mapping[State, Kind] = {
    "THROTTLED": "throttled", "HALTED": "halted", "BACKPRESSURED": "backpressured", "STALLED": "stalled",
    "STOPPED": "stopped",
}  # fmt: skip


@dataclass(frozen=True)
class Queue:
    """The queue of published pages, and what is known about those who fill and empty it."""

    groups: Sequence[PendingGroup]
    unfinished: Sequence[UnfinishedPages]
    halts: Sequence[Control]
    """Active halts."""
    projects: Mapping[str, str]
    """The Google Cloud project of each credential, as far as it is known."""
    partitions: Mapping[int, PartitionStatus]
    """The fetchers' statuses."""
    max_queue_size: int
    has_leader: bool
    """Whether a producer holds the leader's lock."""

    @cached_property
    def halted(self) -> HaltedScopes:
        """What is halted."""
        return halted_scopes(self.halts, self.projects)

    @cached_property
    def groups_of(self) -> Mapping[str, Sequence[PendingGroup]]:
        """The groups of each credential."""
        groups: defaultdict[str, list[PendingGroup]] = defaultdict(list)
        for group in self.groups:
            groups[group.credential].append(group)
        return groups

    @cached_property
    def share_size(self) -> int:
        """How many pages each credential may have published."""
        return share_size(self.max_queue_size, (group for group in self.groups if not self.halted.contains(group)))


def credential_pages(queue: Queue) -> list[CredentialPages]:
    """Return the pages of each credential with unfinished ones."""
    items: dict[str, list[UnfinishedPages]] = {}
    for item in queue.unfinished:
        items.setdefault(item.credential, []).append(item)
    return [
        CredentialPages(
            credential,
            sum(item.pending for item in of_credential),
            sum(item.published for item in of_credential),
            max(item.age_s for item in of_credential),
            _wait_of(credential, of_credential, queue),
        )
        for credential, of_credential in sorted(items.items())
    ]


def pages_to_fetch(queue: Queue) -> dict[str, int]:
    """Return how many unfinished pages each credential has that no halt holds."""
    counts = Counter[str]()
    for item in queue.unfinished:
        if not queue.halted.contains(item):
            counts[item.credential] += item.pending + item.published - item.halted
    return counts


def _wait_of(credential: str, items: Sequence[UnfinishedPages], queue: Queue) -> PendingReason:
    waits = (
        _halt(credential, queue),
        None if queue.has_leader else PendingReason("no_leader", "no producer publishes pages"),
        _full_share(credential, items, queue),
        _halted_properties(items),
        _fetchers(credential, items, queue),
    )
    return next((wait for wait in waits if wait is not None), PendingReason(""))


def _halt(credential: str, queue: Queue) -> PendingReason | None:
    """Return the halt of the credential, or that of every run that it has pending pages of."""
    groups = queue.groups_of.get(credential, ())
    scopes = set(credential_scopes(credential, queue.projects.get(credential, DEFAULT_PROJECT)))
    if groups and all(map(queue.halted.contains, groups)):
        scopes |= {f"run:{group.run_id}" for group in groups}
    halts = [halt for halt in queue.halts if halt.scope in scopes]
    if not halts:
        return None
    reasons = "; ".join(f"{halt.scope} is halted: {halt.reason}" for halt in halts)
    return PendingReason("halted", reasons, end_of(halts))


def _full_share(credential: str, items: Sequence[UnfinishedPages], queue: Queue) -> PendingReason | None:
    running = [group for group in queue.groups_of.get(credential, ()) if not queue.halted.contains(group)]
    published = sum(item.published for item in items)
    shares = Shares(queue.share_size, {credential: published})
    if not any(map(shares.is_full, running)):
        return None
    fetchers = _fetchers(credential, items, queue)
    reason = f"its share of the queue is full, {published} of {shares.size} pages"
    return fetchers._replace(reason=f"{reason}: {fetchers.reason}") if fetchers else PendingReason("share_full", reason)


def _halted_properties(items: Sequence[UnfinishedPages]) -> PendingReason | None:
    pending = [item for item in items if item.pending]
    if not pending or any(item.pending > item.halted for item in pending):
        return None
    return PendingReason("halted", "its pending pages are of halted properties")


def _fetchers(credential: str, items: Iterable[UnfinishedPages], queue: Queue) -> PendingReason | None:
    """Return what the published pages of a credential wait for in their partitions."""
    numbers = sorted({number for item in items for number in item.partitions})
    statuses = {number: queue.partitions[number] for number in numbers if number in queue.partitions}
    waits = (_fetcher(credential, number, status) for number, status in statuses.items())
    return next((wait for wait in waits if wait is not None), None)


def _fetcher(credential: str, number: int, status: PartitionStatus) -> PendingReason | None:
    """Return what a credential waits for in a partition, which may have batches of others."""
    for wait in status.waits:
        if wait.credential == credential:
            return PendingReason(wait.kind, wait.reason, wait.until)
    if status.state == "OK" or (status.state == "THROTTLED" and 0 < len(status.waits) < MAX_WAITS):
        return None
    return PendingReason(_KINDS[status.state], f"partition {number} is {status.state}: {status.reason}", status.until)
