"""The table of topics."""

from pipeline.contracts.topics import ALL, BATCHES, CONTROL, DEAD_LETTERS, MAX_MESSAGE_BYTES


def test_a_topic_is_named_after_the_prefix() -> None:
    assert BATCHES.full_name("gsc") == "gsc.batches"
    assert len({topic.name for topic in ALL}) == len(ALL) == 5


def test_a_topic_keeps_its_messages_for_a_time_or_is_compacted() -> None:
    assert BATCHES.config == {"cleanup.policy": "delete", "retention.ms": "604800000"}
    assert CONTROL.config == {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": "86400000"}


def test_a_dead_letter_may_be_larger_than_any_message() -> None:
    assert int(DEAD_LETTERS.config["max.message.bytes"]) > MAX_MESSAGE_BYTES
