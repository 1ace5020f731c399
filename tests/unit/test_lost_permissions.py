"""When refusals of properties are a refusal of their credential."""

import random

import pytest

from fetcher.lost_permissions import PERMISSION_WINDOW_S, REFUSED_MARGIN, LostPermissions


def refused(lost: LostPermissions, numbers: range, now: float = 0.0) -> list[int]:
    """Return how many properties each refusal condemns."""
    return [len(lost.refused("acme", str(number), now)) for number in numbers]


def test_a_credential_that_loses_every_property_has_lost_its_permissions() -> None:
    assert refused(LostPermissions(), range(REFUSED_MARGIN)) == [0] * (REFUSED_MARGIN - 1) + [REFUSED_MARGIN]


def test_the_same_property_counts_once() -> None:
    lost = LostPermissions()
    assert not any(lost.refused("acme", "one", 0.0) for _ in range(5 * REFUSED_MARGIN))


@pytest.mark.parametrize(("count", "condemned"), [(REFUSED_MARGIN + 8, False), (REFUSED_MARGIN + 9, True)])
def test_ten_more_properties_must_be_refused_than_were_read_lately(count: int, condemned: bool) -> None:
    lost = LostPermissions()
    for number in range(9):
        lost.succeeded("acme", f"good {number}", 0.0)
    assert any(refused(lost, range(count), PERMISSION_WINDOW_S - 1)) == condemned


def test_properties_that_were_read_long_ago_do_not_count() -> None:
    lost = LostPermissions()
    for number in range(150):
        lost.succeeded("acme", f"good {number}", 0.0)
    assert any(refused(lost, range(REFUSED_MARGIN), PERMISSION_WINDOW_S))


def test_properties_that_were_refused_long_ago_do_not_count() -> None:
    lost = LostPermissions()
    refused(lost, range(REFUSED_MARGIN - 1))
    assert refused(lost, range(REFUSED_MARGIN, REFUSED_MARGIN + 5), PERMISSION_WINDOW_S) == [0] * 5


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("count", "condemned"), [(100, False), (280, True)])
def test_a_credential_that_loses_a_part_of_320_properties_is_lost_only_if_that_is_most_of_them(
    count: int, condemned: bool, seed: int
) -> None:
    lost, numbers = LostPermissions(), list(range(320))
    random.Random(seed).shuffle(numbers)
    answers: list[int] = []
    for number in numbers:
        if number < count:
            answers += refused(lost, range(number, number + 1))
        else:
            lost.succeeded("acme", str(number), 0.0)
    assert any(answers) == condemned


def test_a_property_that_is_read_again_is_not_refused_any_more() -> None:
    lost = LostPermissions()
    for number in range(2 * REFUSED_MARGIN):
        assert refused(lost, range(number, number + 1)) == [0]
        lost.succeeded("acme", str(number), 0.0)


def test_after_a_resume_only_new_refusals_count() -> None:
    lost = LostPermissions()
    refused(lost, range(REFUSED_MARGIN))
    assert refused(lost, range(REFUSED_MARGIN)) == [0] * (REFUSED_MARGIN - 1) + [REFUSED_MARGIN]


def test_credentials_are_judged_alone() -> None:
    lost = LostPermissions()
    refused(lost, range(REFUSED_MARGIN))
    assert not lost.refused("other", "0", 0.0)
