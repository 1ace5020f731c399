"""The status of a partition, which its owner puts into the metadata of its commits, after the bitmap of done offsets.

Every client that may read the group's offsets can see why a partition waits and until when, without finding the owner.
"""

from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from pipeline.contracts.messages import Moment
from pipeline.contracts.records import PartitionLag

State = Literal["OK", "THROTTLED", "HALTED", "BACKPRESSURED", "STALLED", "STOPPED"]
STATES: tuple[State, ...] = get_args(State)
SILENT_AFTER = timedelta(seconds=20)
"""A partition with lag is STALLED when its owner has not committed for this long. An owner commits its status every few
seconds, and a rebalance after a kill takes less than this."""
NOTHING_TO_DO = "nothing to do"
"""The reason of a partition without batches."""
MAX_WAITS = 6
"""Credentials whose waits a status has. The metadata of a commit is short, and most partitions have fewer."""
_MAX_REASON = 200
_MAX_WAIT_REASON = 60
WaitKind = Literal["throttled", "outage"]


class CredentialWait(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """What the queued batches of a credential in a partition wait for, and until when."""

    credential: str
    kind: WaitKind
    reason: str
    until: Moment


class PartitionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a partition does or waits for. `until` is the end of the wait, if it is known."""

    state: State
    at: Moment
    reason: str = ""
    until: Moment | None = None
    waits: tuple[CredentialWait, ...] = ()
    """Of at most MAX_WAITS credentials, those that wait longest."""


def with_status(done: str, status: PartitionStatus) -> str:
    """Return commit metadata that contains the bitmap of done offsets and the status, with a long reason cut."""
    waits = [msgspec.structs.replace(wait, reason=wait.reason[:_MAX_WAIT_REASON]) for wait in status.waits]
    short = msgspec.structs.replace(status, reason=status.reason[:_MAX_REASON], waits=tuple(waits))
    return f"{done} {msgspec.json.encode(short).decode()}"


def read_done(metadata: str) -> str:
    """Return the bitmap of done offsets from commit metadata."""
    return metadata.partition(" ")[0]


def read_status(metadata: str) -> PartitionStatus | None:
    """Return the status from commit metadata, or None if it has none that can be decoded."""
    try:
        return msgspec.json.decode(metadata.partition(" ")[2], type=PartitionStatus)
    except msgspec.DecodeError:
        return None


def status_of(lag: PartitionLag, now: datetime) -> PartitionStatus:
    """Return the status of a partition: what its owner last committed, or STALLED if that is old and there is lag."""
    committed = read_status(lag.metadata)
    if committed is not None and now - committed.at < SILENT_AFTER:
        return committed
    if not lag.lag:
        return PartitionStatus("OK", now, NOTHING_TO_DO)
    if committed is None:
        return PartitionStatus("STALLED", now, "no owner has committed yet")
    silent_s = (now - committed.at).total_seconds()
    return PartitionStatus("STALLED", now, f"its owner has not committed for {silent_s:.0f} s")
