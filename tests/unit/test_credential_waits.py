"""Why the pages of a credential wait, as `gsc-stream status` shows it."""

from datetime import timedelta
from typing import Any

from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import STATES, CredentialWait, PartitionStatus
from pipeline.contracts.records import PendingGroup, UnfinishedPages
from producer.credential_waits import CredentialPages, PendingReason, Queue, credential_pages, pages_to_fetch
from support.examples import NOW

LATER = NOW + timedelta(minutes=15)
GROUP = PendingGroup("acme", "backfill", 1, "run-1")
PENDING = UnfinishedPages("acme", "backfill", 300, 0, 90.4, (), "run-1", 0)
PUBLISHED = UnfinishedPages("acme", "backfill", 0, 40, 60.0, (3,), "run-1", 0)
OK = PartitionStatus("OK", NOW, "4 batches in progress")
THROTTLED = PartitionStatus("THROTTLED", NOW, "credential acme has no token", LATER)


def halt(scope: str, reason: str = "broken", **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason=reason, actor="a", at=NOW, **changes)


def a_queue(**changes: Any) -> Queue:
    values: dict[str, Any] = {
        "groups": [GROUP],
        "unfinished": [PENDING, PUBLISHED],
        "halts": [],
        "projects": {"acme": "agency"},
        "partitions": {3: OK},
        "max_queue_size": 1000,
        "has_leader": True,
    }
    return Queue(**{**values, **changes})


def pages_of(**changes: Any) -> CredentialPages:
    [found] = credential_pages(a_queue(**changes))
    return found


def wait_of(**changes: Any) -> PendingReason:
    return pages_of(**changes).wait


def test_pages_are_counted_over_runs_and_the_oldest_run_counts() -> None:
    assert pages_of() == CredentialPages("acme", 300, 40, 90.4, PendingReason(""))


def test_a_halt_is_named_with_its_reason_and_end() -> None:
    wait = wait_of(halts=[halt("credential:acme", "spent", until=LATER)])
    assert wait == PendingReason("halted", "credential:acme is halted: spent", LATER)
    assert wait_of(halts=[halt("project:agency")]).reason == "project:agency is halted: broken"
    assert wait_of(halts=[halt("project:default")]).reason == ""
    wait = wait_of(halts=[halt("all"), halt("credential:acme", "spent", until=LATER)])
    assert wait == PendingReason("halted", "all is halted: broken; credential:acme is halted: spent", None)
    assert wait_of(halts=[halt("credential:other")]).kind == ""


def test_a_halted_run_is_named_when_the_credential_has_pages_of_no_other() -> None:
    halts = [halt("run:run-1")]
    assert wait_of(halts=halts).reason == "run:run-1 is halted: broken"
    assert wait_of(halts=halts, groups=[GROUP, PendingGroup("acme", "daily", 2, "run-2")]).reason == ""


def test_a_full_share_is_named_with_what_its_partition_waits_for() -> None:
    assert wait_of(max_queue_size=40) == PendingReason("share_full", "its share of the queue is full, 40 of 40 pages")
    wait = wait_of(max_queue_size=40, partitions={3: THROTTLED})
    assert wait.reason.endswith("40 of 40 pages: partition 3 is THROTTLED: credential acme has no token")
    assert (wait.kind, wait.until) == ("throttled", LATER)
    halved = wait_of(max_queue_size=80, groups=[GROUP, PendingGroup("other", "backfill", 1, "run-1")])
    assert halved.reason == "its share of the queue is full, 40 of 40 pages"


def test_published_pages_wait_for_their_partition() -> None:
    wait = wait_of(groups=[], unfinished=[PUBLISHED], partitions={3: THROTTLED})
    assert wait == PendingReason("throttled", "partition 3 is THROTTLED: credential acme has no token", LATER)


def test_a_credential_waits_for_what_is_reported_of_it_and_not_of_others_in_its_partition() -> None:
    waits = (CredentialWait("acme", "outage", "calls fail", LATER), CredentialWait("other", "throttled", "slow", LATER))
    for state in ("OK", "THROTTLED"):
        status = PartitionStatus(state, NOW, "the soonest wait", LATER, waits)
        assert wait_of(partitions={3: status}) == PendingReason("outage", "calls fail", LATER)
        others = PartitionStatus(state, NOW, "the soonest wait", LATER, waits[1:])
        assert wait_of(partitions={3: others}) == PendingReason("")


def test_each_status_of_a_partition_but_ok_is_something_to_wait_for() -> None:
    kinds = [wait_of(partitions={3: PartitionStatus(state, NOW)}).kind for state in STATES]
    assert dict(zip(STATES, kinds, strict=True)) == {state: "" if state == "OK" else state.lower() for state in STATES}


def test_a_missing_leader_and_halted_properties_are_named() -> None:
    assert wait_of(has_leader=False) == PendingReason("no_leader", "no producer publishes pages")
    of_halted = PENDING._replace(halted=300)
    assert wait_of(unfinished=[of_halted]) == PendingReason("halted", "its pending pages are of halted properties")
    assert wait_of(unfinished=[of_halted, PENDING]).kind == ""


def test_pages_that_a_halt_holds_are_not_to_be_fetched() -> None:
    other = UnfinishedPages("other", "backfill", 7, 2, 1.0, (3,), "run-2", 4)
    unfinished = [PENDING, PUBLISHED, other]
    assert pages_to_fetch(a_queue(unfinished=unfinished)) == {"acme": 340, "other": 5}
    for scope in ("credential:acme", "project:agency", "run:run-1"):
        assert pages_to_fetch(a_queue(unfinished=unfinished, halts=[halt(scope)])) == {"other": 5}
    assert pages_to_fetch(a_queue(unfinished=unfinished, halts=[halt("all")])) == {}
