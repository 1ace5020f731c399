"""Publishing, consuming and halts on a real Kafka."""

import asyncio
from collections.abc import Sequence
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from structlog.testing import capture_logs

from pipeline.clock import monotonic, now
from pipeline.consumer_group import ANSWER_LIMIT_S, GroupMember
from pipeline.consumer_lag import LagReader
from pipeline.contracts.messages import Control
from pipeline.contracts.records import Record
from pipeline.contracts.topics import ALL, BATCHES, CONTROL, DEAD_LETTERS, RESULTS, SYNC_REQUESTS, Topic
from pipeline.control import ControlWatcher
from pipeline.dead_letters import DeadLetter, publish_dead_letter
from pipeline.errors import Invalid, Retryable
from pipeline.group_config import GroupConfig
from pipeline.kafka_admin import check_reachable, check_topics, create_topics, partition_count
from pipeline.offsets import AssignedPartition, OffsetCommit
from pipeline.partitioner import partition_of
from pipeline.publisher import Publisher, publish_control
from support.wait import until


@pytest.fixture
async def topics(kafka: dict[str, str], topic_prefix: str) -> str:
    await create_topics(kafka, topic_prefix)
    return topic_prefix


class RecordingHandler:
    """An handler that keeps what it gets and commits on revocation."""

    def __init__(self) -> None:
        self.partitions: dict[int, AssignedPartition] = {}
        self.records: list[Record] = []
        self.member: GroupMember | None = None
        self.metadata = ""

    async def assigned(self, partitions: Sequence[AssignedPartition]) -> None:
        self.partitions.update({assigned.partition: assigned for assigned in partitions})

    async def revoked(self, partitions: Sequence[int]) -> None:
        assert self.member is not None
        await self.member.commit(self.commits(partitions))
        for partition in partitions:
            self.partitions.pop(partition)

    def lost(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self.partitions.pop(partition, None)

    async def receive(self, records: Sequence[Record]) -> None:
        self.records += records

    def wants_more(self) -> bool:
        return True

    def commits(self, partitions: Sequence[int]) -> list[OffsetCommit]:
        ends = {p: max((r.offset + 1 for r in self.records if r.partition == p), default=-1) for p in partitions}
        return [OffsetCommit(p, end, self.metadata) for p, end in ends.items() if end >= 0]


def a_member(
    kafka: dict[str, str], prefix: str, topic: Topic = BATCHES, session_s: float = 6.0, **configuration: str
) -> tuple[RecordingHandler, asyncio.Event, Any]:
    handler, stop = RecordingHandler(), asyncio.Event()
    group = GroupConfig(f"{prefix}.fetcher", topic.full_name(prefix), session_s)
    handler.member = GroupMember({**kafka, **configuration}, group)
    return handler, stop, asyncio.create_task(handler.member.run(stop, handler))


async def test_topics_are_created_once_and_checked(kafka: dict[str, str], topic_prefix: str) -> None:
    assert len(await check_topics(kafka, topic_prefix)) == len(ALL)
    assert len(await create_topics(kafka, topic_prefix)) == len(ALL)
    assert await create_topics(kafka, topic_prefix) == []
    assert await check_topics(kafka, topic_prefix) == []


async def test_a_different_number_of_partitions_is_reported_where_one_is_needed(
    kafka: dict[str, str], topic_prefix: str
) -> None:
    name, admin = SYNC_REQUESTS.full_name(topic_prefix), AdminClient(kafka)
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(20)
    await create_topics(kafka, topic_prefix, partitions=20)
    assert await check_topics(kafka, topic_prefix) == [f"topic {name}: has 2 partitions, expected 1"]
    assert [await partition_count(kafka, topic.full_name(topic_prefix)) for topic in (BATCHES, RESULTS)] == [20, 20]


async def test_a_message_that_is_too_large_is_invalid(publisher: Publisher, topics: str) -> None:
    with pytest.raises(Invalid):
        await publisher.publish(BATCHES.full_name(topics), "k", b"x" * 3_000_000)


async def test_a_message_is_in_the_partition_of_its_key(publisher: Publisher, topics: str) -> None:
    keys = [f"credential-{number}" for number in range(50)]
    positions = await publisher.publish_all(BATCHES.full_name(topics), [(key, b"x") for key in keys])
    assert [position.partition for position in positions] == [partition_of(key.encode(), 12) for key in keys]


async def test_an_unreachable_broker_is_retryable(kafka: dict[str, str]) -> None:
    with pytest.raises(Retryable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await check_reachable({"bootstrap.servers": "127.0.0.1:1"}, timeout_s=1)


async def test_an_invalid_client_setting_is_named() -> None:
    with pytest.raises(Invalid, match="nonsense"):
        Publisher({"bootstrap.servers": "127.0.0.1:1", "nonsense": "1"}, "test")


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_members_share_partitions_and_hand_them_over(
    kafka: dict[str, str], topics: str, publisher: Publisher, protocol: str
) -> None:
    topic = BATCHES.full_name(topics)
    await publisher.publish_all(topic, [(f"key-{n}", str(n).encode()) for n in range(100)])
    first, stop_first, running_first = a_member(kafka, topics, **{"group.protocol": protocol})
    await until(lambda: len(first.records) == 100, 60, "the first member reads everything")
    assert first.member is not None
    assert first.member.lease_until > monotonic()
    first.metadata = "1:reported"
    second, stop_second, running_second = a_member(kafka, topics, **{"group.protocol": protocol})
    await until(lambda: len(first.partitions) == len(second.partitions) == 6, 60, "both have half of the partitions")
    assert not first.partitions.keys() & second.partitions.keys()
    reported = {assigned.metadata for assigned in second.partitions.values() if assigned.offset > 0}
    assert reported == {"1:reported"}
    stop_first.set()
    await running_first
    await until(lambda: len(second.partitions) == 12, 60, "the second member has them all")
    await publisher.publish_all(topic, [(f"key-{n}", b"more") for n in range(100)])
    await until(lambda: len(second.records) == 100, 60, "only what is new is read")
    assert {record.value for record in second.records} == {b"more"}
    stop_second.set()
    await running_second
    lag = LagReader(kafka, group=f"{topics}.fetcher", topic=topic)
    assert await lag.total() == 0


async def test_a_commit_beside_the_polls_renews_the_lease(
    kafka: dict[str, str], topics: str, publisher: Publisher
) -> None:
    topic = BATCHES.full_name(topics)
    await publisher.publish_all(topic, [(f"key-{n}", b"x") for n in range(50)])
    handler, stop, running = a_member(kafka, topics)
    await until(lambda: len(handler.records) == 50, 60, "everything is read")
    assert handler.member is not None
    before = handler.member.lease_until
    for _ in range(3):
        await handler.member.commit(handler.commits(sorted(handler.partitions)))
    assert handler.member.lease_until > before
    assert await LagReader(kafka, group=f"{topics}.fetcher", topic=topic).total() == 0
    stop.set()
    await running


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_a_member_that_stops_during_a_rebalance_hands_over_all_that_is_done_and_leaves(
    kafka: dict[str, str], topics: str, publisher: Publisher, protocol: str
) -> None:
    topic, configuration = BATCHES.full_name(topics), {"group.protocol": protocol}
    first, stop_first, running_first = a_member(kafka, topics, **configuration)
    await until(lambda: len(first.partitions) == 12, 30, "the first member has every partition")
    second, stop_second, running_second = a_member(kafka, topics, **configuration)
    await until(lambda: len(first.partitions) < 12, 30, "the first member gives partitions back")
    # Classic: its request to join again is on its way, and the second member sends its own with the next heartbeat.
    kept = sorted(first.partitions)
    await publisher.publish_all(topic, [(f"key-{n}", b"x") for n in range(100)])
    await until(lambda: {record.partition for record in first.records} >= set(kept), 30, "the first member reads")
    stop_first.set()
    with capture_logs() as logged:
        await running_first
    assert "consumer_not_closed" not in {line["event"] for line in logged}
    done = {partition: offset for partition, offset, _ in first.commits(kept)}
    await until(lambda: second.partitions.keys() >= done.keys(), 30, "the second member has them all")
    assert {partition: second.partitions[partition].offset for partition in done} == done
    stop_second.set()
    await running_second


async def test_a_member_without_partitions_hears_from_the_broker_often_enough_to_be_ready(
    kafka: dict[str, str], topics: str
) -> None:
    slow = {**kafka, "group.protocol": "classic"}  # a heartbeat every 9 seconds
    one, stop_one, running_one = a_member(slow, topics, topic=SYNC_REQUESTS, session_s=30.0)
    other, stop_other, running_other = a_member(slow, topics, topic=SYNC_REQUESTS, session_s=30.0)
    await until(lambda: len(one.partitions) + len(other.partitions) == 1, 30, "one member has the only partition")
    idle = other.member if one.partitions else one.member
    assert idle is not None
    await until(lambda: idle.answers.stalled(monotonic()) is None, 30, "the broker has answered")
    end = monotonic() + 2 * ANSWER_LIMIT_S
    while monotonic() < end:
        assert idle.answers.stalled(monotonic()) is None
        await asyncio.sleep(0.1)
    for stop, running in ((stop_one, running_one), (stop_other, running_other)):
        stop.set()
        await running


async def test_lag_counts_from_the_oldest_message_without_a_commit(
    kafka: dict[str, str], topics: str, publisher: Publisher
) -> None:
    await publisher.publish_all(BATCHES.full_name(topics), [("k", b"x")] * 7)
    assert await LagReader(kafka, group="nobody", topic=BATCHES.full_name(topics)).total() == 7


async def test_a_halt_reaches_followers_and_later_readers(
    kafka: dict[str, str], topics: str, publisher: Publisher
) -> None:
    watcher, changes = ControlWatcher(kafka, topics), 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    watcher.subscribe(changed)
    await watcher.start()
    assert watcher.readable(monotonic())
    assert not watcher.readable(monotonic() + 60)
    control = Control(scope="run:1", state="halted", reason="test", actor="me", at=now())
    await publish_control(publisher, topics, control)
    await until(lambda: watcher.halts.active(now()) == [control], 60, "the halt is seen")
    assert changes == 1
    later = ControlWatcher(kafka, topics)
    await later.start()
    assert later.halts.active(now()) == [control]
    await publish_control(publisher, topics, Control(scope="run:1", state="running", reason="", actor="me", at=now()))
    await until(lambda: watcher.halts.active(now()) == [], 60, "the end is seen")
    await watcher.close()
    await later.close()


async def test_an_unreadable_control_record_halts_its_scope(
    kafka: dict[str, str], topics: str, publisher: Publisher
) -> None:
    await publisher.publish(CONTROL.full_name(topics), "credential:acme", b"{broken")
    watcher = ControlWatcher(kafka, topics)
    await watcher.start()
    assert [control.scope for control in watcher.halts.active(now())] == ["credential:acme"]
    await watcher.close()


async def test_a_missing_control_topic_is_not_readable(kafka: dict[str, str], topic_prefix: str) -> None:
    with pytest.raises(Retryable):
        await ControlWatcher(kafka, topic_prefix).start()


async def test_a_dead_letter_has_the_message_and_the_reason(
    kafka: dict[str, str], topics: str, publisher: Publisher
) -> None:
    record = Record("gsc.batches", 3, 42, b"acme", b"\xff\x00poison", 1_700_000_000_000)
    await publish_dead_letter(publisher, topics, DeadLetter(record, "fetcher", "undecodable", "not JSON", 2))
    reader = confluent_kafka.Consumer({**kafka, "group.id": "reader", "auto.offset.reset": "earliest"})
    reader.subscribe([DEAD_LETTERS.full_name(topics)])
    message = await asyncio.to_thread(reader.poll, 20)
    reader.close()
    assert message is not None
    assert (message.key(), message.value()) == (b"acme", b"\xff\x00poison")
    headers = {name: bytes(value).decode() for name, value in message.headers() or ()}  # type: ignore[arg-type, str-unpack]
    assert headers == {
        "reason": "undecodable",
        "error": "not JSON",
        "source-topic": "gsc.batches",
        "source-partition": "3",
        "source-offset": "42",
        "first-seen": "1700000000000",
        "attempt": "2",
        "service": "fetcher",
    }
