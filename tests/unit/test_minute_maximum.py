"""The highest value of the last minute; time is an argument."""

from pipeline.minute_maximum import MINUTE_S, MinuteMaximum


def after(highest: MinuteMaximum, value: float, now: float) -> float:
    highest.add(value, now)
    return highest.value(now)


def test_the_highest_value_counts_until_it_is_older_than_a_minute() -> None:
    highest = MinuteMaximum()
    assert after(highest, 0.5, 0.0) == 0.5
    assert after(highest, 0.2, 1.0) == 0.5
    assert after(highest, 0.1, MINUTE_S + 0.5) == 0.2
    assert after(highest, 0.1, MINUTE_S + 1.5) == 0.1
    assert after(highest, 0.9, MINUTE_S + 2.0) == 0.9
