"""The status of a partition, reported by its owner in the metadata of its commits, after the bitmap of what is done.

Whoever can read the group's offsets sees why a partition waits and until when, without knowing any fetcher's address.
"""

from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from pipeline.contracts.records import PartitionLag

State = Literal["OK", "THROTTLED", "HALTED", "BACKPRESSURED", "STALLED", "STOPPED"]
STATES: tuple[State, ...] = get_args(State)
SILENT_AFTER = timedelta(seconds=20)
"""An owner reports every few seconds; this is longer than a rebalance after a kill takes."""
_MAX_REASON = 300


class PartitionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a partition does or waits for. `until` is the end of the wait, if known."""

    state: State
    at: datetime
    reason: str = ""
    until: datetime | None = None


def with_status(done: str, standing: PartitionStatus) -> str:
    """Return commit metadata with the bitmap `done` and the status."""
    shorter = msgspec.structs.replace(standing, reason=standing.reason[:_MAX_REASON])
    return f"{done} {msgspec.json.encode(shorter).decode()}"


def read_done(metadata: str) -> str:
    """Return the bitmap in commit metadata."""
    return metadata.partition(" ")[0]


def read_status(metadata: str) -> PartitionStatus | None:
    """Return the status in commit metadata, or None when there is none that can be read."""
    try:
        return msgspec.json.decode(metadata.partition(" ")[2], type=PartitionStatus)
    except msgspec.DecodeError:
        return None


def status_of(lag: PartitionLag, now: datetime) -> PartitionStatus:
    """Return the status as seen from outside: STALLED when there is work and the owner has not reported."""
    reported = read_status(lag.metadata)
    if reported is not None and now - reported.at < SILENT_AFTER:
        return reported
    if not lag.lag:
        return PartitionStatus("OK", now, "nothing to do")
    if reported is None:
        return PartitionStatus("STALLED", now, "no owner has reported yet")
    return PartitionStatus(
        "STALLED", now, f"the owner has not reported for {(now - reported.at).total_seconds():.0f} s"
    )
