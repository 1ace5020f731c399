"""How a partition stands: as its owner sees it, on its way in a commit, and for somebody outside."""

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
    known: dict[str, Any] = {
        "at": NOW, "in_flight": 3, "still_s": 1.0, "closed": None, "sink_lag": 0, "halts": (),
        "touched": {"property:x"}, "waits": "", "until": None,
    }  # fmt: skip
    return View(**{**known, **changes})


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
def test_the_status_of_a_partition(changes: dict[str, Any], state: str, reason: str, until: Any) -> None:
    found = standing(a_view(**changes))
    assert (found.state, found.until) == (state, until)
    assert reason in found.reason


def test_a_halted_partition_reports_the_end_of_the_last_halt() -> None:
    halts = (a_halt("all", until=SOON), a_halt("property:x", until=SOON + timedelta(hours=1)))
    assert standing(a_view(halts=halts)).until == SOON + timedelta(hours=1)
    assert standing(a_view(halts=(*halts, a_halt("property:x")))).until is None


@given(done=st.sets(st.integers(0, 30_000), max_size=3000), reason=st.text(max_size=2000))
def test_bitmap_and_status_share_the_metadata(done: set[int], reason: str) -> None:
    tracker = OffsetTracker(0)
    tracker.started(0)
    for offset in done - {0}:
        tracker.done(offset)
    told = PartitionStatus("HALTED", NOW, reason.encode("utf-8", "replace").decode(), SOON)
    metadata = with_status(tracker.metadata, told)
    assert len(tracker.metadata) <= METADATA_LIMIT
    assert len(metadata.encode()) <= BROKER_LIMIT
    assert read_done(metadata) == tracker.metadata
    found = read_status(metadata)
    assert found is not None
    assert (found.state, found.at, found.until) == ("HALTED", NOW, SOON)
    assert told.reason.startswith(found.reason)


def test_a_silent_owner_with_work_is_stalled() -> None:
    told = with_status("", PartitionStatus("THROTTLED", NOW, "why", SOON))
    assert status_of(PartitionLag(5, 9, 4, told), NOW).state == "THROTTLED"
    late = NOW + SILENT_AFTER
    assert status_of(PartitionLag(5, 9, 4, told), late).reason == "the owner has not reported for 20 s"
    assert status_of(PartitionLag(5, 9, 4, told), late).state == "STALLED"
    assert status_of(PartitionLag(9, 9, 0, told), late).state == "OK"


@pytest.mark.parametrize("metadata", ["", "1:abc", "1:abc {", '1:abc {"state": "FINE"}', "something else"])
def test_unknown_metadata_has_no_status(metadata: str) -> None:
    assert read_status(metadata) is None
    assert status_of(PartitionLag(0, 1, 1, metadata), NOW).state == "STALLED"
