"""How a partition stands: as its owner sees it, on its way in a commit, and for somebody outside."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(done=st.sets(st.integers(0, 30_000), max_size=3000), reason=st.text(max_size=2000))
def test_bitmap_and_status_share_the_metadata(done: set[int], reason: str) -> None:
    tracker = OffsetTracker(0)
    tracker.started(0)
    for offset in done - {0}:
        tracker.done(offset)
    reported = PartitionStatus("HALTED", NOW, reason.encode("utf-8", "replace").decode(), SOON)
    metadata = with_status(tracker.metadata, reported)
    assert len(tracker.metadata) <= METADATA_LIMIT
    assert len(metadata.encode()) <= BROKER_LIMIT
    assert read_done(metadata) == tracker.metadata
    found = read_status(metadata)
    assert found is not None
    assert (found.state, found.at, found.until) == ("HALTED", NOW, SOON)
    assert reported.reason.startswith(found.reason)


def test_a_silent_owner_with_work_is_stalled() -> None:
    reported = with_status("", PartitionStatus("THROTTLED", NOW, "why", SOON))
    assert status_of(PartitionLag(5, 9, 4, reported), NOW).state == "THROTTLED"
    late = NOW + SILENT_AFTER
    assert status_of(PartitionLag(5, 9, 4, reported), late).reason == "its owner has not committed for 20 s"
    assert status_of(PartitionLag(5, 9, 4, reported), late).state == "STALLED"
    assert status_of(PartitionLag(9, 9, 0, reported), late).state == "OK"


@pytest.mark.parametrize("metadata", ["", "1:abc", "1:abc {", '1:abc {"state": "FINE"}', "something else"])
def test_unknown_metadata_has_no_status(metadata: str) -> None:
    assert read_status(metadata) is None
    assert status_of(PartitionLag(0, 1, 1, metadata), NOW).state == "STALLED"
