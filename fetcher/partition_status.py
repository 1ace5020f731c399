"""How a partition stands, from what its owner knows. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.contracts.halts import ALL
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import PartitionStatus

STALLED_AFTER_S = 180.0
"""Longer than a call may take: nothing was started or ended for so long, and nothing says why."""

_CLOSED = {
    "control": "the control topic cannot be read, so halts are not known",
    "lease": "the lease ran out: no commit has succeeded of late",
}


@dataclass(frozen=True)
class View:
    """What is known of a partition. `closed`: why no call may start at all; `waits`, `until`: what its next batch
    waits for; `touched`: the scopes that its batches of late were in."""

    at: datetime
    in_flight: int
    still_s: float
    closed: str | None
    sink_lag: int
    halts: Sequence[Control]
    touched: Collection[str]
    waits: str
    until: datetime | None


def standing(view: View) -> PartitionStatus:
    """The one word, why, and until when."""
    if view.closed in _CLOSED:
        return PartitionStatus("STALLED", view.at, _CLOSED[view.closed])
    halts = [halt for halt in view.halts if halt.scope == ALL or halt.scope in view.touched]
    if halts and (halts[0].scope == ALL or not view.in_flight):
        return _halted(view, halts)
    if not view.in_flight:
        return PartitionStatus("OK", view.at, "nothing to do")
    if view.closed == "backpressure":
        return PartitionStatus("BACKPRESSURED", view.at, f"the sink is {view.sink_lag} results behind")
    if view.until is not None:
        return PartitionStatus("THROTTLED", view.at, view.waits, view.until)
    if view.still_s > STALLED_AFTER_S:
        return PartitionStatus("STALLED", view.at, f"no call has started or ended for {view.still_s:.0f} s")
    return PartitionStatus("OK", view.at, f"{view.in_flight} batches in hand")


def _halted(view: View, halts: Sequence[Control]) -> PartitionStatus:
    ends = [halt.until for halt in halts]
    until = None if None in ends else max(end for end in ends if end is not None)
    return PartitionStatus("HALTED", view.at, "; ".join(f"{halt.scope}: {halt.reason}" for halt in halts), until)
