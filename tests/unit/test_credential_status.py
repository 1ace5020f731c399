"""Why the pages of a credential wait, as `gsc-stream status` shows it."""

from datetime import timedelta
from typing import Any

from cli.commands.status import NOTHING_PUBLISHED, _partitions
from cli.credential_status import Queue, credential_rows
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import NOTHING_TO_DO, PartitionStatus
from pipeline.contracts.records import PartitionLag, PendingGroup, UnfinishedPages
from support.examples import NOW

LATER = NOW + timedelta(minutes=15)
GROUP = PendingGroup("acme", "backfill", 1, "run-1")
PENDING = UnfinishedPages("acme", "backfill", 300, 0, 90.4, ())
PUBLISHED = UnfinishedPages("acme", "backfill", 0, 40, 60.0, (3,))
OK = PartitionStatus("OK", NOW, "4 batches in progress")
THROTTLED = PartitionStatus("THROTTLED", NOW, "credential acme has no token", LATER)


def halt(scope: str, reason: str = "broken", **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason=reason, actor="a", at=NOW, **changes)


def row_of(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "groups": [GROUP],
        "unfinished": [PENDING, PUBLISHED],
        "halts": [],
        "projects": {"acme": "agency"},
        "publishable": {"acme"},
        "partitions": {3: OK},
        "max_queue_size": 1000,
        "has_leader": True,
    }
    [row] = credential_rows(Queue(**{**values, **changes}))
    return row


def test_pages_are_counted_over_runs_and_the_oldest_run_counts() -> None:
    assert row_of() == {
        "credential": "acme", "pending": 300, "published": 40, "oldest_s": 90, "reason": "", "until": None,
    }  # fmt: skip


def test_a_halt_is_named_with_its_reason_and_end() -> None:
    row = row_of(halts=[halt("credential:acme", "spent", until=LATER)])
    assert (row["reason"], row["until"]) == ("credential:acme is halted: spent", "2026-03-10T12:15:00Z")
    assert row_of(halts=[halt("project:agency")])["reason"] == "project:agency is halted: broken"
    assert row_of(halts=[halt("project:default")])["reason"] == ""
    row = row_of(halts=[halt("all"), halt("credential:acme", "spent", until=LATER)])
    assert (row["reason"], row["until"]) == ("all is halted: broken; credential:acme is halted: spent", None)
    assert row_of(halts=[halt("credential:other")])["reason"] == ""


def test_a_halted_run_is_named_when_the_credential_has_pages_of_no_other() -> None:
    halts = [halt("run:run-1")]
    assert row_of(halts=halts)["reason"] == "run:run-1 is halted: broken"
    assert row_of(halts=halts, groups=[GROUP, PendingGroup("acme", "daily", 2, "run-2")])["reason"] == ""


def test_a_full_share_is_named_with_what_its_partition_waits_for() -> None:
    assert row_of(max_queue_size=40)["reason"] == "its share of the queue is full, 40 of 40 pages"
    row = row_of(max_queue_size=40, partitions={3: THROTTLED})
    assert row["reason"].endswith("40 of 40 pages: partition 3 is THROTTLED: credential acme has no token")
    assert row["until"] == "2026-03-10T12:15:00Z"
    halved = row_of(max_queue_size=80, groups=[GROUP, PendingGroup("other", "backfill", 1, "run-1")])
    assert halved["reason"] == "its share of the queue is full, 40 of 40 pages"


def test_published_pages_wait_for_their_partition() -> None:
    row = row_of(groups=[], unfinished=[PUBLISHED], publishable=set(), partitions={3: THROTTLED})
    assert (row["reason"], row["until"]) == (
        "partition 3 is THROTTLED: credential acme has no token", "2026-03-10T12:15:00Z",
    )  # fmt: skip


def test_a_missing_publisher_and_halted_properties_are_named() -> None:
    assert row_of(has_leader=False)["reason"] == "no producer publishes pages"
    assert row_of(publishable=set())["reason"] == "its pending pages are of halted properties"


def test_a_partition_is_not_said_to_have_nothing_to_do_while_pages_are_pending() -> None:
    lags = {0: PartitionLag(5, 5, 0), 1: PartitionLag(5, 9, 4)}
    statuses = {0: PartitionStatus("OK", NOW, NOTHING_TO_DO), 1: OK}
    assert [row["reason"] for row in _partitions(lags, statuses, pending=True)] == [NOTHING_PUBLISHED, OK.reason]
    assert [row["reason"] for row in _partitions(lags, statuses, pending=False)] == [NOTHING_TO_DO, OK.reason]
