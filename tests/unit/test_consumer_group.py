"""What a member of a consumer group reads from librdkafka's statistics."""

from pipeline.consumer_group import responses_received

STATISTICS = """{"name": "rdkafka#consumer-1", "ts": 5016483227792, "brokers": {
  "localhost:9092/2": {"name": "localhost:9092/2", "state": "UP", "rx": 320, "rxbytes": 15708},
  "GroupCoordinator": {"name": "GroupCoordinator", "state": "UP", "rx": 7}}, "topics": {}}"""


def test_the_responses_of_all_brokers_are_counted() -> None:
    assert responses_received(STATISTICS) == 327


def test_without_a_broker_there_are_none() -> None:
    assert responses_received('{"brokers": {}}') == responses_received("{}") == 0
