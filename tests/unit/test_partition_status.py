"""The status of a partition: as its owner derives it, in the metadata of a commit, and as others read it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.partition_status import STALLED_AFTER_S, View, standing
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import (
    SILENT_AFTER,
    PartitionStatus,
    read_done,
    read_status,
    status_of,
    with_status,
)
from pipeline.contracts.records import PartitionLag
from pipeline.offsets import METADATA_LIMIT, OffsetTracker
from support.examples import NOW

BROKER_LIMIT = 4096
SOON = NOW + timedelta(seconds=3)


def a_halt(scope: str, **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason="broken", actor="a", at=NOW, **changes)


def a_view(**changes: Any) -> View:
    fields: dict[str, Any] = {
        "at": NOW, "in_flight": 3, "still_s": 1.0, "closed": None, "sink_lag": 0, "halts": (),
        "touched": {"property:x"}, "waits": "", "until": None,
    }  # fmt: skip
    return View(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "state", "reason", "until"),
    [
        ({}, "OK", "3 batches in hand", None),
        ({"in_flight": 0}, "OK", "nothing to do", None),
        ({"closed": "concurrency"}, "OK", "3 batches in hand", None),
        ({"waits": "credential x: 936 calls a minute", "until": SOON}, "THROTTLED", "credential x: 936 calls", SOON),
        ({"closed": "backpressure", "sink_lag": 812, "until": SOON}, "BACKPRESSURED", "812 results behind", None),
        ({"closed": "control"}, "STALLED", "the control topic cannot be read", None),
        ({"closed": "lease", "in_flight": 0}, "STALLED", "the lease ran out", None),
        ({"still_s": STALLED_AFTER_S + 1}, "STALLED", "no call has started or ended for 181 s", None),
        ({"halts": (a_halt("all"),)}, "HALTED", "all: broken", None),
        ({"halts": (a_halt("property:x", until=SOON),), "in_flight": 0}, "HALTED", "property:x: broken", SOON),
        ({"halts": (a_halt("property:x"),)}, "OK", "3 batches in hand", None),
        ({"halts": (a_halt("property:y"),), "in_flight": 0}, "OK", "nothing to do", None),
    ],
)
def test_the_owner_derives_the_status_from_its_view(
    changes: dict[str, Any], state: str, reason: str, until: Any
) -> None:
    status = standing(a_view(**changes))
    assert (status.state, status.until) == (state, until)
    assert reason in status.reason


def test_a_wait_for_several_halts_ends_with_the_last() -> None:
    halts = (a_halt("all", until=SOON), a_halt("property:x", until=SOON + timedelta(hours=1)))
    assert standing(a_view(halts=halts)).until == SOON + timedelta(hours=1)
    assert standing(a_view(halts=(*halts, a_halt("property:x")))).until is None


@given(done=st.sets(st.integers(0, 30_000), max_size=3000), reason=st.text(max_size=2000))
def test_one_commit_carries_the_bitmap_and_the_status(done: set[int], reason: str) -> None:
    tracker = OffsetTracker(0)
    tracker.started(0)
    for offset in done - {0}:
        tracker.done(offset)
    status = PartitionStatus("HALTED", NOW, reason.encode("utf-8", "replace").decode(), SOON)
    metadata = with_status(tracker.metadata, status)
    assert len(tracker.metadata) <= METADATA_LIMIT
    assert len(metadata.encode()) <= BROKER_LIMIT
    assert read_done(metadata) == tracker.metadata
    decoded = read_status(metadata)
    assert decoded is not None
    assert (decoded.state, decoded.at, decoded.until) == ("HALTED", NOW, SOON)
    assert status.reason.startswith(decoded.reason)


def test_a_partition_with_lag_is_stalled_when_its_owner_stops_committing() -> None:
    metadata = with_status("", PartitionStatus("THROTTLED", NOW, "why", SOON))
    assert status_of(PartitionLag(5, 9, 4, metadata), NOW).state == "THROTTLED"
    late = NOW + SILENT_AFTER
    assert status_of(PartitionLag(5, 9, 4, metadata), late).reason == "its owner has not committed for 20 s"
    assert status_of(PartitionLag(5, 9, 4, metadata), late).state == "STALLED"
    assert status_of(PartitionLag(9, 9, 0, metadata), late).state == "OK"


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "1:abc",
        "1:abc {",
        '1:abc {"state": "FINE", "at": "2026-03-10T12:00:00Z"}',
        '1:abc {"state": "OK", "at": "2026-03-10T12:00:00"}',
        "something else",
    ],
)
def test_other_metadata_has_no_status(metadata: str) -> None:
    assert read_status(metadata) is None
    status = status_of(PartitionLag(0, 1, 1, metadata), NOW)
    assert (status.state, status.reason) == ("STALLED", "no owner has committed yet")
