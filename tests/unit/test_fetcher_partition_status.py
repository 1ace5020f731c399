"""The status of a partition, as its owner decides it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from fetcher.partition_status import (
    STALLED_AFTER_S,
    BatchWait,
    Conditions,
    OpenCircuit,
    PartitionProgress,
    View,
    decide_status,
    view_of,
)
from fetcher.quota_limits import QuotaLimits
from fetcher.rate_limiter import RateLimiter, Refusal
from fetcher.schedule import Job, Schedule
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import MAX_WAITS, CredentialWait, read_status, with_status
from pipeline.offsets import METADATA_LIMIT
from support.examples import NOW, a_batch

SOON = NOW + timedelta(seconds=3)
WAIT = BatchWait("x", "throttled", 3.0, "credential x: 936 calls a minute")


def a_halt(scope: str, **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason="broken", actor="a", at=NOW, **changes)


def some_conditions(**changes: Any) -> Conditions:
    usual: dict[str, Any] = {
        "at": NOW, "monotonic_at": 0.0, "blocker": None, "sink_lag": 0, "halts": (),
        "outage_of": lambda credential: None,
    }  # fmt: skip
    return Conditions(**{**usual, **changes})


def a_view(in_flight: int = 3, idle_s: float = 1.0, waits: Sequence[BatchWait] = (), **conditions: Any) -> View:
    progress = PartitionProgress(in_flight, idle_s)
    return View(some_conditions(**conditions), progress, {"property:x"}, waits)


@pytest.mark.parametrize(
    ("changes", "state", "reason", "until"),
    [
        ({}, "OK", "3 batches in progress", None),
        ({"in_flight": 0}, "OK", "nothing to do", None),
        (
            {"waits": [WAIT]},
            "THROTTLED",
            "credential x: 936 calls",
            SOON,
        ),
        (
            {"blocker": "backpressure", "sink_lag": 812, "waits": [WAIT]},
            "BACKPRESSURED",
            "812 results behind",
            None,
        ),
        ({"blocker": "control"}, "STALLED", "the control topic cannot be read", None),
        ({"blocker": "lease", "in_flight": 0}, "STALLED", "the lease on the partitions has expired", None),
        ({"idle_s": STALLED_AFTER_S + 1}, "STALLED", "no call has started or ended for 181 s", None),
        ({"halts": (a_halt("all"),)}, "HALTED", "all: broken", None),
        ({"halts": (a_halt("property:x", until=SOON),), "in_flight": 0}, "HALTED", "property:x: broken", SOON),
        ({"halts": (a_halt("property:x"),)}, "OK", "3 batches in progress", None),
        ({"halts": (a_halt("property:y"),), "in_flight": 0}, "OK", "nothing to do", None),
    ],
)
def test_each_situation_has_its_state_and_reason(changes: dict[str, Any], state: str, reason: str, until: Any) -> None:
    status = decide_status(a_view(**changes))
    assert (status.state, status.until) == (state, until)
    assert reason in status.reason


def test_the_status_ends_with_the_last_of_several_halts() -> None:
    halts = (a_halt("all", until=SOON), a_halt("property:x", until=SOON + timedelta(hours=1)))
    assert decide_status(a_view(halts=halts)).until == SOON + timedelta(hours=1)
    assert decide_status(a_view(halts=(*halts, a_halt("property:x")))).until is None


def view_of_partition_0(schedule: Schedule, limiter: RateLimiter, moment: float = 0.0) -> View:
    return view_of(0, some_conditions(monotonic_at=moment), PartitionProgress(1, 0.0), schedule, limiter)


def a_limiter() -> RateLimiter:
    limiter = RateLimiter(QuotaLimits(1200, 600, 40_000, 0.8, 8), 12)
    limiter.assigned([0], 0.0)
    return limiter


def test_a_view_has_the_scopes_and_the_wait_of_the_next_batch() -> None:
    schedule, limiter = Schedule(), a_limiter()
    schedule.assigned([0])
    schedule.add(Job(a_batch(), 0, 0), 0.0)
    limiter.refused(a_batch(), 0, Refusal("credential", 0.0, 3.0), 0.0)
    view = view_of_partition_0(schedule, limiter)
    assert view.scopes == {"project:default", "credential:acme", "property:sc-domain:example.com", "run:run-1"}
    assert view.waits == [BatchWait("acme", "throttled", 3.0, "credential acme: 232 calls a minute, cut from 464")]


def test_a_batch_that_waits_for_no_token_waits_for_a_retry() -> None:
    schedule, limiter = Schedule(), a_limiter()
    schedule.assigned([0])
    schedule.put_back(Job(a_batch(), 0, 0, not_before=63.0, failure="http_403 without an error of Google"))
    view = view_of_partition_0(schedule, limiter, 60.0)
    reason = "property sc-domain:example.com waits for a retry: http_403 without an error of Google"
    assert view.waits == [BatchWait("acme", "throttled", 3.0, reason)]
    assert [wait.is_over for wait in view_of_partition_0(schedule, limiter, 63.0).waits] == [True]


def test_a_batch_of_a_credential_in_an_outage_waits_for_the_next_try() -> None:
    schedule, limiter = Schedule(), a_limiter()
    schedule.assigned([0])
    schedule.add(Job(a_batch(), 0, 0), 0.0)
    conditions = some_conditions(monotonic_at=60.0, outage_of=lambda name: OpenCircuit(f"{name}: calls fail", 3.0))
    status = decide_status(view_of(0, conditions, PartitionProgress(1, 0.0), schedule, limiter))
    assert (status.state, status.reason, status.until) == ("THROTTLED", "acme: calls fail", SOON)


def test_a_partition_without_queued_batches_waits_for_nothing() -> None:
    view = view_of_partition_0(Schedule(), a_limiter())
    assert (view.scopes, view.waits) == (frozenset(), [])


def test_a_status_names_the_waits_of_the_credentials() -> None:
    """One credential may work while others in its partition wait, each for something else."""
    over, outage = BatchWait("free", "throttled", 0.0, ""), BatchWait("down", "outage", 0.0, "calls fail")
    status = decide_status(a_view(waits=[WAIT, over, outage]))
    assert (status.state, status.reason) == ("OK", "3 batches in progress")
    assert status.waits == (
        CredentialWait("x", "throttled", WAIT.reason, SOON),
        CredentialWait("down", "outage", "calls fail", NOW),
    )
    assert read_status(with_status("", status)) == status


def test_a_status_with_many_long_waits_fits_into_the_metadata_of_a_commit() -> None:
    waits = [BatchWait(f"credential-{n}-{'x' * 80}", "throttled", 1.0 + n, "y" * 500) for n in range(20)]
    status = decide_status(a_view(waits=waits))
    assert [wait.credential for wait in status.waits] == [wait.credential for wait in reversed(waits[-MAX_WAITS:])]
    assert len(with_status("b" * METADATA_LIMIT, status)) < 4096
