"""How long a token is used, and what a refusal of it means."""

import pytest

from fetcher.credentials import REFRESH_MARGIN_S, AccessToken, seconds_of_use


@pytest.mark.parametrize(
    ("life_s", "seconds"),
    [(3600.0, 3600.0 - REFRESH_MARGIN_S), (600.0, 540.0), (20.0, 18.0), (-7200.0, 1.0), (None, float("inf"))],
)
def test_a_token_is_replaced_before_its_end_and_never_at_every_call(life_s: float | None, seconds: float) -> None:
    assert seconds_of_use(life_s) == pytest.approx(seconds)


def test_a_token_is_used_until_it_must_be_replaced() -> None:
    token = AccessToken()
    assert token.usable(100.0) is None
    token.obtained("one", 20.0, 100.0)
    assert (token.usable(117.9), token.usable(118.1)) == ("one", None)


def test_a_refused_token_is_dropped_at_once() -> None:
    token = AccessToken()
    token.obtained("one", 3600.0, 0.0)
    assert not token.refused("one")
    assert token.usable(0.0) is None


def test_late_refusals_of_a_token_that_is_replaced_say_nothing() -> None:
    token = AccessToken()
    token.obtained("one", 3600.0, 0.0)
    assert not token.refused("one")
    assert not token.refused("one")  # of another call in flight
    token.obtained("two", 3600.0, 1.0)
    assert not token.refused("one")
    assert token.usable(1.0) == "two"


def test_a_new_token_that_is_refused_refuses_the_credential() -> None:
    token = AccessToken()
    token.obtained("one", 3600.0, 0.0)
    token.refused("one")
    token.obtained("two", 3600.0, 1.0)
    assert token.refused("two")
    token.obtained("three", 3600.0, 2.0)  # after a resume
    assert token.refused("three")


def test_tokens_that_serve_calls_before_they_are_refused_never_refuse_the_credential() -> None:
    token = AccessToken()
    for number in range(50):
        token.obtained(str(number), 3600.0, float(number))
        token.accepted(str(number))
        token.accepted("another")
        assert not token.refused(str(number))


def test_a_call_with_the_old_token_says_nothing_about_the_new_one() -> None:
    token = AccessToken()
    token.obtained("one", 3600.0, 0.0)
    token.refused("one")
    token.obtained("two", 3600.0, 1.0)
    token.accepted("one")
    assert token.refused("two")
