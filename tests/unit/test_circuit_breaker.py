"""When circuits open and close, when calls try, and that a credential's circuit delays no other."""

from fetcher.circuit_breaker import (
    FAILING_S,
    FAILURES_IN_A_ROW,
    FIRST_TRY_S,
    LONGEST_TRY_S,
    CircuitBreaker,
    Closed,
    FailedCall,
)


def fail(breaker: CircuitBreaker, credential: str, now: float, *, others: bool = False) -> bool:
    return breaker.failed(credential, FailedCall(now, "http_503", others), 1.0)


def opened(*credentials: str, now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for credential in credentials:
        assert [fail(breaker, credential, now) for _ in range(FAILURES_IN_A_ROW)].count(True) == 1
    return breaker


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    breaker = CircuitBreaker()
    assert breaker.wait("a", 0.0) == 0
    assert [fail(breaker, "a", 0.0) for _ in range(4)] == [False, False, True, False]
    assert breaker.wait("a", 0.0) == FIRST_TRY_S
    assert breaker.open_circuits() == {"a": "http_503"}


def test_a_success_in_between_keeps_it_closed() -> None:
    breaker = CircuitBreaker()
    for number in range(50):
        assert not fail(breaker, "a", number)
        assert not fail(breaker, "a", number)
        assert breaker.succeeded("a", number) is None
    assert not breaker.is_open("a")


def test_calls_in_flight_may_still_succeed_for_a_while() -> None:
    breaker = CircuitBreaker()
    assert not any(fail(breaker, "a", number, others=True) for number in range(int(FAILING_S)))
    assert fail(breaker, "a", FAILING_S, others=True)


def test_tries_grow_to_the_longest_pause_and_are_spread() -> None:
    breaker, now, pauses = opened("a"), 0.0, []
    for _ in range(7):
        wait = breaker.wait("a", now)
        assert breaker.wait("a", now + wait - 0.01) > 0
        now += wait
        pauses.append(wait)
        breaker.started("a", now, 1.0)
        fail(breaker, "a", now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, LONGEST_TRY_S, LONGEST_TRY_S, LONGEST_TRY_S]
    breaker.started("a", now, 0.0)
    assert breaker.wait("a", now) == LONGEST_TRY_S / 2


def test_one_success_closes_the_circuit() -> None:
    breaker = opened("a")
    assert breaker.succeeded("a", 30.0) == Closed("a", 30.0)
    assert breaker.wait("a", 30.0) == 0
    assert breaker.open_circuits() == {}


def test_the_circuit_of_one_credential_delays_no_other() -> None:
    breaker = opened("a")
    assert breaker.wait("b", 0.0) == 0
    breaker.succeeded("b", 1.0)
    assert breaker.is_open("a")
    breaker = opened("a", "b")  # the API may be down, but a third credential must find out for itself
    assert breaker.wait("c", 0.0) == 0


def test_while_the_api_is_down_tries_share_one_schedule_and_a_failure_opens_further_circuits() -> None:
    breaker = opened("a", "b")
    assert fail(breaker, "c", 0.5)
    assert breaker.wait("a", 0.0) == breaker.wait("b", 0.0) == breaker.wait("c", 0.0) == FIRST_TRY_S
    breaker.started("b", 1.0, 1.0)
    assert breaker.wait("a", 1.0) == breaker.wait("c", 1.0) == 2 * FIRST_TRY_S


def test_when_the_api_is_back_every_credential_tries_at_once() -> None:
    breaker = opened("a", "b")
    for now in (1.0, 3.0, 7.0, 15.0, 30.0):
        breaker.started("a", now, 1.0)
    assert breaker.succeeded("a", 31.0) == Closed("a", 31.0)
    assert breaker.wait("b", 31.0) == 0
    assert breaker.is_open("b")
    breaker.started("b", 31.0, 1.0)
    assert breaker.wait("b", 31.0) == FIRST_TRY_S


def test_circuits_that_open_while_others_succeed_keep_their_own_schedules() -> None:
    breaker = opened("a")
    for now in (1.0, 3.0):
        breaker.started("a", now, 1.0)
    breaker.succeeded("c", 4.0)
    for _ in range(FAILURES_IN_A_ROW):
        fail(breaker, "b", 4.5)
    assert breaker.wait("b", 4.5) == FIRST_TRY_S
    breaker.started("b", 5.5, 1.0)
    assert breaker.wait("a", 5.5) == 1.5


def test_the_last_success_and_the_last_opening_are_known() -> None:
    breaker = opened("a", now=10.0)
    assert breaker.opened_since("a", 10.0)
    assert not breaker.opened_since("a", 10.1)
    assert not breaker.succeeded_since("a", 0.0)
    breaker.succeeded("a", 11.0)
    assert breaker.succeeded_since("a", 10.9)
    assert not breaker.succeeded_since("a", 11.0)
    assert not breaker.opened_since("b", 0.0)
    assert not breaker.succeeded_since("b", 0.0)


def test_a_credential_that_is_forgotten_starts_with_a_closed_circuit() -> None:
    breaker = opened("a")
    breaker.forget("a")
    assert breaker.wait("a", 0.0) == 0
