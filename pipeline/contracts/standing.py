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


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a partition does or waits for. `until`: when the wait ends, if that is known."""

    state: State
    at: datetime
    reason: str = ""
    until: datetime | None = None


def with_standing(done: str, standing: Standing) -> str:
    """Commit metadata of both."""
    shorter = msgspec.structs.replace(standing, reason=standing.reason[:_MAX_REASON])
    return f"{done} {msgspec.json.encode(shorter).decode()}"


def done_in(metadata: str) -> str:
    """The part of the metadata that tells what is done."""
    return metadata.partition(" ")[0]


def standing_in(metadata: str) -> Standing | None:
    """What the owner told, or None when it told nothing that we can read."""
    try:
        return msgspec.json.decode(metadata.partition(" ")[2], type=Standing)
    except msgspec.DecodeError:
        return None


def standing_of(lag: PartitionLag, now: datetime) -> Standing:
    """How a partition stands for somebody outside: an owner that is silent while there is work is STALLED."""
    told = standing_in(lag.metadata)
    if told is not None and now - told.at < SILENT_AFTER:
        return told
    if not lag.lag:
        return Standing("OK", now, "nothing to do")
    if told is None:
        return Standing("STALLED", now, "no owner has said anything yet")
    return Standing("STALLED", now, f"its owner has said nothing for {(now - told.at).total_seconds():.0f} s")
