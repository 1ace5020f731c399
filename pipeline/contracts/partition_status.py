"""How a partition stands, as its owner tells it: in the metadata of its commits, behind the bitmap of what is done.

So whoever may read the group's offsets sees why a partition waits and until when, and no service needs to be found.
"""

from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from pipeline.contracts.records import PartitionLag

State = Literal["OK", "THROTTLED", "HALTED", "BACKPRESSURED", "STALLED", "STOPPED"]
STATES: tuple[State, ...] = get_args(State)
SILENT_AFTER = timedelta(seconds=20)
"""An owner tells how it stands every few seconds; this is longer than a rebalance after a kill takes."""
_MAX_REASON = 300


class PartitionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a partition does or waits for. `until`: when the wait ends, if that is known."""

    state: State
    at: datetime
    reason: str = ""
    until: datetime | None = None


def with_status(done: str, standing: PartitionStatus) -> str:
    """OffsetCommit metadata of both."""
    shorter = msgspec.structs.replace(standing, reason=standing.reason[:_MAX_REASON])
    return f"{done} {msgspec.json.encode(shorter).decode()}"


def read_done(metadata: str) -> str:
    """The part of the metadata that tells what is done."""
    return metadata.partition(" ")[0]


def read_status(metadata: str) -> PartitionStatus | None:
    """What the owner told, or None when it told nothing that we can read."""
    try:
        return msgspec.json.decode(metadata.partition(" ")[2], type=PartitionStatus)
    except msgspec.DecodeError:
        return None


def status_of(lag: PartitionLag, now: datetime) -> PartitionStatus:
    """How a partition stands for somebody outside: an owner that is silent while there is work is STALLED."""
    told = read_status(lag.metadata)
    if told is not None and now - told.at < SILENT_AFTER:
        return told
    if not lag.lag:
        return PartitionStatus("OK", now, "nothing to do")
    if told is None:
        return PartitionStatus("STALLED", now, "no owner has said anything yet")
    return PartitionStatus("STALLED", now, f"its owner has said nothing for {(now - told.at).total_seconds():.0f} s")
