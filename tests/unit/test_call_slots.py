"""Which calls may be in flight together."""

import pytest

from fetcher.capacity import CallSlots
from support.examples import a_batch

HANGING = a_batch(property="sc-domain:hanging.com")
OTHER = a_batch(property="sc-domain:other.com")


def slots_with(count: int, per_credential: int = 4) -> CallSlots:
    """Slots with `count` calls of one property in flight."""
    slots = CallSlots(per_credential)
    for _ in range(count):
        slots.take(HANGING)
    return slots


def test_a_credential_fills_only_its_own_slots() -> None:
    slots = slots_with(4)
    assert slots.is_full("acme")
    assert not slots.is_full("other")
    slots.release(HANGING)
    assert not slots.is_full("acme")


@pytest.mark.parametrize(("count", "others_wait", "used"), [(1, True, False), (2, True, True), (3, False, False)])
def test_a_property_has_half_of_the_slots_while_others_have_work(count: int, others_wait: bool, used: bool) -> None:
    assert slots_with(count).is_share_used(HANGING, others_wait) == used


def test_calls_in_flight_of_other_properties_are_work_of_others() -> None:
    slots = slots_with(2)
    slots.take(OTHER)
    assert slots.is_share_used(HANGING, others_wait=False)
    assert not slots.is_share_used(OTHER, others_wait=True)
    slots.release(OTHER)
    assert not slots.is_share_used(HANGING, others_wait=False)


def test_the_only_slot_may_be_taken_by_any_property() -> None:
    assert not slots_with(0, per_credential=1).is_share_used(HANGING, others_wait=True)
