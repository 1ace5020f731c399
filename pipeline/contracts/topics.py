"""The Kafka topics. The commands that create and check them, and the Helm chart, read this table."""

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Topic:
    """The desired state of a topic. Sizes are in bytes, times in milliseconds."""

    name: str
    """The name without the prefix. See `full_name`."""
    key: str
    partitions: int
    retention_ms: int | None
    """None for a compacted topic, whose records are kept for ever."""
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    max_bytes: int | None = None
    """The largest message. None is the broker's default."""

    def full_name(self, prefix: str) -> str:
        """Return the name on the broker, such as `gsc.batches`."""
        return f"{prefix}.{self.name}"

    @property
    def config(self) -> dict[str, str]:
        """The configuration of the topic under Kafka's names."""
        if self.retention_ms is None:
            return {
                "cleanup.policy": "compact",
                "min.cleanable.dirty.ratio": "0.1",
                "segment.ms": str(DAY_MS),
            }
        size = {} if self.max_bytes is None else {"max.message.bytes": str(self.max_bytes)}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms), **size}


SYNC_REQUESTS = Topic("sync-requests", "request id", 1, 7 * DAY_MS, ("schedulers", "cli", "producer"), ("producer",))
BATCHES = Topic("batches", "credential", 12, 7 * DAY_MS, ("producer", "fetcher"), ("fetcher",))
RESULTS = Topic("results", "property", 12, 30 * DAY_MS, ("fetcher",), ("sink",))
CONTROL = Topic("control", "scope", 1, None, ("all", "operators"), ("all",))
# A dead letter is a message of another topic plus the reason, so it may be larger.
DEAD_LETTERS = Topic("dead-letters", "as the source", 3, 30 * DAY_MS, ("all",), ("operators",), 2 * 1024 * 1024)

SCALABLE = (BATCHES, RESULTS)
"""The topics whose number of partitions an installation may choose: as many as fetchers, and sinks, can work."""
ALL = (SYNC_REQUESTS, BATCHES, RESULTS, CONTROL, DEAD_LETTERS)

MAX_MESSAGE_BYTES = 1_000_000
"""A little less than a broker accepts by default (`message.max.bytes`, 1 MiB). Messages are measured before
compression, so that they fit with any codec."""
