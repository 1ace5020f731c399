"""What a member of a consumer group reads from librdkafka's statistics."""

from pipeline.clock import monotonic
from pipeline.consumer_group import ANSWER_LIMIT_S, IDLE_AFTER_S, GroupConfig, GroupMember, responses_received

STATISTICS = """{"name": "rdkafka#consumer-1", "ts": 5016483227792, "brokers": {
  "localhost:9092/2": {"name": "localhost:9092/2", "state": "UP", "rx": 320, "rxbytes": 15708},
  "GroupCoordinator": {"name": "GroupCoordinator", "state": "UP", "rx": 7}}, "topics": {}}"""


def test_the_responses_of_all_brokers_are_counted() -> None:
    assert responses_received(STATISTICS) == 327


def test_without_a_broker_there_are_none() -> None:
    assert responses_received('{"brokers": {}}') == responses_received("{}") == 0


async def test_a_member_without_partitions_is_idle_and_ready_after_a_while() -> None:
    member = GroupMember({"bootstrap.servers": "127.0.0.1:9"}, GroupConfig("group", "topic", 45.0))
    began = monotonic()
    assert member.not_ready(began) == "no partitions yet"
    member.answers.beat(began + IDLE_AFTER_S)
    assert member.not_ready(began + IDLE_AFTER_S + 1) is None
    silent = member.not_ready(began + IDLE_AFTER_S + ANSWER_LIMIT_S + 1)
    assert silent is not None
    assert silent.startswith("Kafka: no progress")
    await member._consumer.close()
