"""The shares of the queue, and which pages are published next."""

from collections import Counter

import pytest

from pipeline.contracts.messages import Control, Priority
from pipeline.contracts.records import PendingGroup
from producer.queue_shares import DAILY_EXTRA, MIN_SHARE, Shares, choose_pages, halted_scopes, share_size
from support.examples import NOW


def group(credential: str, priority: Priority = "backfill", generation: int = 1) -> PendingGroup:
    return PendingGroup(credential, priority, generation, f"run-{generation}")


def by_credential(chosen: dict[PendingGroup, int]) -> Counter[str]:
    return Counter(g.credential for g in Counter(chosen).elements())


@pytest.mark.parametrize(
    ("max_queue_size", "credentials", "expected"),
    [(1000, 1, 1000), (1000, 4, 250), (1000, 0, 1000), (1000, 3, 333), (1000, 500, MIN_SHARE), (1, 1, MIN_SHARE)],
)
def test_the_queue_is_divided_by_the_credentials_with_pending_pages(
    max_queue_size: int, credentials: int, expected: int
) -> None:
    groups = [group(f"c{number}", generation=run) for number in range(credentials) for run in (1, 2)]
    assert share_size(max_queue_size, groups) == expected


def test_all_shares_together_exceed_the_queue_only_by_the_minimum() -> None:
    for credentials in (1, 7, 99, 100, 101, 1000):
        size = share_size(1000, [group(str(number)) for number in range(credentials)])
        assert credentials * size <= max(1000, MIN_SHARE * credentials)


def test_a_full_share_stops_its_own_credential_only() -> None:
    shares = Shares(100, {"stuck": 100, "half": 60})
    chosen = choose_pages([group("stuck"), group("half"), group("new")], shares, 1000)
    assert by_credential(chosen) == {"half": 40, "new": 100}


def test_credentials_take_turns_and_the_one_with_the_fewest_published_pages_is_first() -> None:
    groups = [group(f"c{number}") for number in range(4)]
    shares = Shares(100, {"c0": 30, "c1": 3})
    assert by_credential(choose_pages(groups, shares, 3)) == {"c2": 1, "c3": 1, "c1": 1}
    assert by_credential(choose_pages(groups, shares, 6)) == {"c2": 2, "c3": 2, "c1": 1, "c0": 1}


def test_runs_of_a_credential_take_turns() -> None:
    groups = [group("a", generation=1), group("a", generation=2)]
    assert choose_pages(groups, Shares(100, {}), 5) == {groups[0]: 3, groups[1]: 2}


def test_daily_pages_go_first_and_beyond_a_full_share() -> None:
    groups = [group("a"), group("a", "daily", 2), group("b")]
    shares = Shares(20, {"a": 20})
    assert choose_pages(groups, shares, 100) == {groups[1]: DAILY_EXTRA, groups[2]: 20}
    assert shares.is_full(groups[0])
    assert not shares.is_full(groups[1])


def test_daily_pages_take_up_room_of_their_credential() -> None:
    groups = [group("a"), group("a", "daily", 2)]
    assert choose_pages(groups, Shares(20, {}), 100) == {groups[1]: 20 + DAILY_EXTRA}


def test_no_more_pages_are_chosen_than_the_limit_and_none_without_groups() -> None:
    groups = [group("a", "daily"), group("b")]
    assert sum(choose_pages(groups, Shares(100, {}), 7).values()) == 7
    assert choose_pages([], Shares(100, {}), 7) == {}


@pytest.mark.parametrize(
    ("scope", "contained"),
    [
        ("all", True),
        ("credential:a", True),
        ("run:run-1", True),
        ("credential:b", False),
        ("property:a", False),
        ("project:pa", True),
        ("project:pb", False),
    ],
)
def test_a_halt_contains_the_groups_of_its_scope(scope: str, contained: bool) -> None:
    halted = halted_scopes([Control(scope=scope, state="halted", reason="r", actor="a", at=NOW)], {"a": "pa"})
    assert halted.contains(group("a")) == contained
    assert halted.properties == ({"a"} if scope == "property:a" else set())
