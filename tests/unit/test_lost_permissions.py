"""When refusals of properties are a refusal of their credential."""

import pytest

from fetcher.error_policy import LEAST_REFUSED, PERMISSION_WINDOW_S, LostPermissions


def refused(lost: LostPermissions, numbers: range, now: float = 0.0) -> list[int]:
    """Return how many properties each refusal condemns."""
    return [len(lost.refused("acme", str(number), now)) for number in numbers]


def test_a_credential_that_loses_every_property_has_lost_its_permissions() -> None:
    assert refused(LostPermissions(), range(LEAST_REFUSED + 1)) == [0] * (LEAST_REFUSED - 1) + [
        LEAST_REFUSED,
        LEAST_REFUSED + 1,
    ]


def test_the_same_property_counts_once() -> None:
    lost = LostPermissions()
    assert not any(lost.refused("acme", "one", 0.0) for _ in range(5 * LEAST_REFUSED))


@pytest.mark.parametrize(("readable", "condemned"), [(LEAST_REFUSED - 1, True), (LEAST_REFUSED, False), (150, False)])
def test_it_must_be_more_than_half_of_the_properties_that_were_answered_recently(
    readable: int, condemned: bool
) -> None:
    lost = LostPermissions()
    for number in range(readable):
        lost.succeeded("acme", f"good {number}", 0.0)
    assert any(refused(lost, range(LEAST_REFUSED), PERMISSION_WINDOW_S - 1)) == condemned


def test_properties_that_were_read_long_ago_do_not_count() -> None:
    lost = LostPermissions()
    for number in range(150):
        lost.succeeded("acme", f"good {number}", 0.0)
    assert any(refused(lost, range(LEAST_REFUSED), PERMISSION_WINDOW_S))


def test_a_success_in_between_shows_that_the_credential_works() -> None:
    lost = LostPermissions()
    for start in range(0, 200, LEAST_REFUSED - 1):
        assert not any(refused(lost, range(start, start + LEAST_REFUSED - 1)))
        lost.succeeded("acme", "good", 0.0)


def test_once_lost_every_refusal_says_so_until_a_success() -> None:
    lost = LostPermissions()
    refused(lost, range(LEAST_REFUSED))
    assert lost.refused("acme", "0", 10 * PERMISSION_WINDOW_S)  # after a resume
    lost.succeeded("acme", "0", 11 * PERMISSION_WINDOW_S)
    assert not lost.refused("acme", "1", 11 * PERMISSION_WINDOW_S)


def test_credentials_are_judged_alone() -> None:
    lost = LostPermissions()
    refused(lost, range(LEAST_REFUSED))
    assert not lost.refused("other", "0", 0.0)
