"""The dashboard that answers how far behind each credential is, why, since when, and when it will be done."""

from lab.monitoring.board import TOP, Board, Panel, Query, leading, top

_UNFINISHED = "sum by (credential) (gsc_unfinished_pages)"
_DONE = 'sum by (credential) (rate(gsc_calls_total{outcome="done"}[10m]))'
_PAUSED_SINCE = (
    "(time() - max_over_time(timestamp(gsc_publishing_paused == 0)[1d:1m])"
    " or time() - min_over_time(timestamp(gsc_publishing_paused)[1d:1m])) and gsc_publishing_paused == 1"
)
"""Seconds since the share last had room; of a share that was never seen with room, since it was first seen."""
_CURRENT, _QUOTA = (f'gsc_drain_seconds{{pace="{pace}"}}' for pace in ("current", "quota"))
_HOUR, _DAY = 3600, 86_400

_TILES = (
    Panel(
        "Pages left",
        "short",
        (Query(f"sum({_UNFINISHED}) or vector(0)"),),
        "Pending and published pages of all credentials.",
        "stat",
        ((1, "blue"),),
    ),
    Panel(
        "Done in",
        "s",
        (Query(f"max({leading(_CURRENT)})"),),
        "Time until no page is left, at the rate of the last minute. Very long: nothing moves.",
        "stat",
        ((4 * _HOUR, "orange"), (_DAY, "red")),
    ),
    Panel(
        "Done in, at the quota",
        "s",
        (Query(f"max({leading(_QUOTA)})"),),
        "The same for the slowest credential, if every credential worked at its quota.",
        "stat",
        ((4 * _HOUR, "orange"), (_DAY, "red")),
    ),
    Panel(
        "Oldest daily run",
        "s",
        (Query('max(gsc_oldest_pending_seconds{priority="daily"}) or vector(0)'),),
        "Time since the oldest daily run with unfinished pages was requested.",
        "stat",
        ((_HOUR, "orange"), (6 * _HOUR, "red")),
    ),
    Panel(
        "Credentials with a full share",
        "short",
        (Query("sum(gsc_publishing_paused) or vector(0)"),),
        "A credential's pages stay pending while its share of the queue is full. Usual while its quota is the limit.",
        "stat",
        ((1, "blue"),),
    ),
    Panel(
        "Halted scopes",
        "short",
        (Query("max(gsc_halts_active)"),),
        "`gsc-stream halts` prints them with their reasons.",
        "stat",
        ((1, "orange"),),
    ),
)

PROGRESS = Board(
    "progress",
    "gsc-stream: progress",
    "How far behind each credential is, why, since when, and when it will be done.",
    (
        *_TILES,
        Panel(
            f"Pages left, by credential (top {TOP})",
            "short",
            (Query(top(_UNFINISHED), "{{credential}}"),),
            "Pending and published pages. Credentials without any are done.",
            "bars",
        ),
        Panel(
            f"Done in, by credential (top {TOP})",
            "s",
            (Query(top(f"({_UNFINISHED}) / {_DONE}"), "{{credential}}"),),
            "Pages left, divided by the successful calls a second of the last ten minutes. Infinite: no call succeeds.",
            "bars",
            ((4 * _HOUR, "orange"), (_DAY, "red")),
        ),
        Panel(
            f"Pending pages (top {TOP})",
            "short",
            (Query(top("sum by (credential) (gsc_pending_pages)"), "{{credential}}"),),
            "Pages in the ledger that are not in Kafka yet. A line that does not fall: its credential is stuck.",
        ),
        Panel(
            f"Published pages (top {TOP})",
            "short",
            (Query(top("sum by (credential) (gsc_published_pages)"), "{{credential}}"),),
            "Pages in Kafka without a result. A line that stays at the credential's share of the queue, while its "
            "pending pages do not fall, is slow or stuck.",
        ),
        Panel(
            f"Oldest unfinished run, by credential (top {TOP})",
            "s",
            (Query(top("max by (credential, priority) (gsc_oldest_pending_seconds)"), "{{credential}}, {{priority}}"),),
            "Time since the run was requested.",
            "bars",
            ((6 * _HOUR, "orange"), (2 * _DAY, "red")),
        ),
        Panel(
            f"Share of the queue full since (top {TOP})",
            "s",
            (Query(top(f"max by (credential) ({_PAUSED_SINCE})"), "{{credential}}"),),
            "How long no page of a credential could be published; looks back for a day.",
            "bars",
            ((_HOUR, "orange"), (6 * _HOUR, "red")),
        ),
        Panel(
            f"Halted credentials (top {TOP})",
            "short",
            (Query(top("max by (credential, cause) (gsc_credential_halted)"), "{{credential}}, {{cause}}"),),
            "1 for each credential in which no call may start, by the cause of the halt. `gsc-stream halts` prints the "
            "reasons.",
            "bars",
            ((1, "orange"),),
        ),
        Panel(
            f"What pages wait for, by credential (top {TOP})",
            "short",
            (Query(top("max by (credential, kind) (gsc_credential_waiting)"), "{{credential}}, {{kind}}"),),
            "halted; share_full: its share of the queue; throttled: a token, or the end of an outage; backpressured: "
            "the sink; stalled and stopped: its partition has no working owner. `gsc-stream status` has the reasons.",
        ),
        Panel(
            f"End of the wait, by credential (top {TOP})",
            "s",
            (Query(top("max by (credential) (gsc_credential_wait_end_timestamp_seconds) - time()"), "{{credential}}"),),
            "Seconds until a halt ends or a token is there, for waits whose end is known.",
            "bars",
            ((_HOUR, "orange"), (_DAY, "red")),
        ),
        Panel(
            f"Pages done per minute (top {TOP})",
            "cpm",
            (Query(top(f"60 * {_DONE}"), "{{credential}}"),),
            "Successful calls of each credential. Zero with pages left: halted, without quota, or stuck.",
        ),
        Panel(
            f"Outages, by credential (top {TOP})",
            "short",
            (Query(top("max by (credential) (gsc_circuit_open)"), "{{credential}}"),),
            "1 while every call of a credential fails, so that only one call tries now and then.",
        ),
        Panel(
            "Partition status",
            "short",
            (Query(f"max by (partition, state) ({leading('gsc_partition_state')}) == 1", "{{partition}} {{state}}"),),
            "Why. OK; THROTTLED: the next call waits for a token; HALTED; BACKPRESSURED: the sink's lag is too high; "
            "STALLED: work makes no progress; STOPPED: no owner. `gsc-stream status` has the reasons by credential.",
            "states",
        ),
    ),
)
