"""Heartbeats and the watchdog, at times of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.watchdog import EXIT_AFTER_S, FROZEN_S, TICK_S, Heartbeat, Watchdog


def ticked(watchdog: Watchdog, start: float, end: float) -> Watchdog:
    """Let time pass in a process that runs."""
    for step in range(int((end - start) / TICK_S) + 1):
        watchdog.tick(start + step * TICK_S)
    return watchdog


def test_a_loop_without_progress_for_longer_than_its_limit_is_named() -> None:
    slow, quick = Heartbeat("commit loop", 60.0, 0.0), Heartbeat("call loop", 10.0, 0.0)
    watchdog = ticked(Watchdog([slow, quick], 0.0), 0.0, 30.0)
    quick.beat(20.0)
    assert watchdog.stalled(30.0) is None
    assert watchdog.stalled(31.0) == "call loop: no progress for 11 s"


def test_progress_ends_a_stall_and_never_goes_back() -> None:
    heartbeat = Heartbeat("loop", 10.0, 0.0)
    assert heartbeat.stalled(11.0) == "loop: no progress for 11 s"
    heartbeat.beat(11.0)
    heartbeat.beat(5.0)
    assert heartbeat.stalled(21.0) is None


def test_a_stall_expires_when_nobody_has_acted_on_it() -> None:
    watchdog = Watchdog([Heartbeat("loop", 10.0, 0.0)], 0.0)
    last = 10.0 + EXIT_AFTER_S
    assert ticked(watchdog, 0.0, last).expired(last) is None
    assert ticked(watchdog, last, last + 1).expired(last + 1) == "loop: no progress for 41 s"


def test_no_loop_is_to_blame_while_the_whole_process_was_frozen() -> None:
    watchdog = Watchdog([Heartbeat("loop", 10.0, 0.0)], 0.0)
    frozen_until = 600.0
    assert watchdog.stalled(frozen_until) is None
    watchdog.tick(frozen_until)
    assert watchdog.stalled(frozen_until + 1) is None
    end = frozen_until + 12
    assert ticked(watchdog, frozen_until, end).stalled(end) == "loop: no progress for 12 s"


@given(st.lists(st.floats(0.1, FROZEN_S), max_size=200))
def test_loops_that_make_progress_in_time_are_never_stalled(steps: list[float]) -> None:
    heartbeat = Heartbeat("loop", FROZEN_S, 0.0)
    watchdog, now = Watchdog([heartbeat], 0.0), 0.0
    for step in steps:
        now += step
        watchdog.tick(now)
        assert watchdog.stalled(now) is None
        heartbeat.beat(now)
