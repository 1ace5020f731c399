"""Room in memory, shared by credentials and their properties."""

import asyncio
from collections import Counter

import pytest

from fetcher.capacity import PageBytes, PageMemory, PagePermit, PagePlaces, SharedRoom
from support.examples import a_batch
from support.wait import others_wait


async def acquired(room: SharedRoom, owner: str, amount: int = 1) -> "asyncio.Task[None]":
    """Ask for an amount for a property, named `credential/property`; the task is done if it was granted at once."""
    task = asyncio.create_task(room.acquire(owner.partition("/")[0], Counter({owner: amount})))
    await others_wait()
    return task


async def count_granted(room: SharedRoom, owners: list[str], amount: int = 1) -> int:
    return sum([(await acquired(room, owner, amount)).done() for owner in owners])


def release(room: SharedRoom, owner: str, amount: int = 1) -> None:
    room.release(owner.partition("/")[0], owner, amount)


def pages_of(credential: str, properties: int = 50) -> list[str]:
    """A page of each of several properties."""
    return [f"{credential}/{number}" for number in range(properties)]


async def test_a_credential_without_others_may_have_every_place() -> None:
    room = PagePlaces(10)
    assert await count_granted(room, pages_of("a")) == 10
    assert room.used == 10


async def test_a_credential_finds_its_share_of_the_places_whatever_the_others_hold() -> None:
    """All bodies hang: those of a credential that came first, and then of one after the other."""
    room = PagePlaces(10)
    assert [await count_granted(room, pages_of(name)) for name in "abcdefgh"] == [10, 5, 3, 2, 2, 2, 2, 2]


async def test_a_credential_that_has_its_share_takes_free_places_only() -> None:
    room = PagePlaces(10)
    assert await count_granted(room, ["a/1", "b/1", "c/1", "d/1"]) == 4
    assert await count_granted(room, pages_of("e")) == 6


async def test_credentials_that_hold_nothing_have_no_share() -> None:
    room = PagePlaces(10)
    for name in "abcdefgh":
        await acquired(room, f"{name}/1")
        release(room, f"{name}/1")
    assert await count_granted(room, ["x/1"] * 50) == 5


async def test_a_property_whose_bodies_hang_leaves_half_of_the_places_to_the_others_of_its_credential() -> None:
    room = PagePlaces(10)
    assert await count_granted(room, ["a/hanging"] * 50) == 5
    assert await count_granted(room, ["a/other"] * 50) == 5
    assert await count_granted(room, ["b/hanging"] * 50) == 2
    assert await count_granted(room, ["b/other"] * 50) == 2


async def test_two_properties_of_a_credential_have_a_place_each_however_many_credentials_there_are() -> None:
    room = PagePlaces(4)
    for name in "abcdefgh":
        assert await count_granted(room, [f"{name}/1"] * 5) == (2 if name == "a" else 1)
        assert (await acquired(room, f"{name}/2")).done()


async def test_a_place_that_is_free_again_goes_to_the_credentials_in_turn() -> None:
    room = PagePlaces(2)
    held = ["a/1", "a/2", "b/1", "b/2"]
    assert await count_granted(room, held) == 4
    waiting = {owner: await acquired(room, owner) for owner in ("a/3", "a/4", "b/3", "b/4")}
    order = []
    for owner in held:
        release(room, owner)
        await others_wait()
        order += [name for name, task in waiting.items() if task.done() and name not in order]
    assert order == ["a/3", "a/4", "b/3", "b/4"]


async def test_the_pages_of_an_http_batch_have_their_places_together_or_none() -> None:
    room = PagePlaces(10)
    assert (await acquired(room, "a/1", 10)).done()
    assert (await acquired(room, "b/1", 10)).done()
    assert not (await acquired(room, "a/2", 10)).done()


async def test_bytes_are_bounded_and_given_in_turns() -> None:
    room = PageBytes(1)
    await acquired(room, "a")
    waiting = [(owner, await acquired(room, owner)) for owner in ("a", "a", "a", "b", "c")]
    order = []
    holder = "a"
    for _ in range(5):
        release(room, holder)
        await others_wait()
        [number] = [n for n, (_, task) in enumerate(waiting) if task.done()]
        holder, _ = waiting.pop(number)
        order.append(holder)
    assert order == ["a", "b", "c", "a", "a"]


async def test_of_several_credentials_none_takes_the_bytes_that_another_waits_for() -> None:
    room = PageBytes(10)
    await acquired(room, "a", 6)
    small, large = await acquired(room, "a", 3), await acquired(room, "b", 5)
    assert (small.done(), large.done()) == (True, False)
    more = await acquired(room, "a", 1)  # it fits, but the share of each is five
    assert not more.done()
    release(room, "a", 6)
    await others_wait()
    assert (large.done(), more.done(), room.used) == (True, True, 9)


async def test_what_is_larger_than_the_bytes_is_taken_alone_and_not_overtaken() -> None:
    room = PageBytes(10)
    await acquired(room, "a", 3)
    large = await acquired(room, "b", 50)
    small = await acquired(room, "c", 1)
    assert (large.done(), small.done()) == (False, False)
    release(room, "a", 3)
    await others_wait()
    assert (large.done(), small.done(), room.used) == (True, False, 50)
    release(room, "b", 50)
    await others_wait()
    assert small.done()


@pytest.mark.parametrize("granted", [False, True])
async def test_a_request_that_is_cancelled_leaves_its_room_to_the_next(granted: bool) -> None:
    room = PageBytes(1)
    await acquired(room, "a")
    first, second = await acquired(room, "b"), await acquired(room, "c")
    if granted:
        release(room, "a")  # and cancelled before it notices
    first.cancel()
    if not granted:
        release(room, "a")
    await asyncio.gather(first, return_exceptions=True)
    await others_wait()
    assert (first.cancelled(), second.done(), room.used) == (True, True, 1)


async def test_a_permit_holds_a_page_and_its_bytes_until_it_is_released() -> None:
    memory = PageMemory(10, 1000)
    permit = memory.permit(a_batch())
    await permit.admit()
    await permit.reserve(400)
    assert (memory.pages.used, memory.bytes.used) == (1, 400)
    permit.release()
    permit.release()
    assert (memory.pages.used, memory.bytes.used) == (0, 0)
    await permit.admit()  # it needs none any more
    assert memory.pages.used == 0


async def test_a_permit_that_is_released_while_it_waits_returns_its_room_when_it_gets_it() -> None:
    memory = PageMemory(1, 1000)
    first, second = memory.permit(a_batch()), memory.permit(a_batch())
    await first.admit()
    waiting = asyncio.create_task(second.admit())
    await others_wait()
    second.release()
    first.release()
    await waiting
    assert memory.pages.used == 0


async def test_a_credential_with_enormous_pages_leaves_room_for_the_others() -> None:
    """Each page of one fills half of the memory; pages of another are read meanwhile, without waiting for it."""
    memory = PageMemory(10, 1000)
    small = memory.permit(a_batch(credential="small"))
    await small.admit()
    await small.reserve(10)

    async def fetch(permit: PagePermit, size: int) -> None:
        await permit.admit()
        await permit.reserve(size)

    enormous = [
        asyncio.create_task(fetch(memory.permit(a_batch(credential="enormous", property=url)), 500))
        for url in pages_of("enormous", 10)
    ]
    await others_wait()
    assert sum(task.done() for task in enormous) == 1
    for _ in range(20):
        permit = memory.permit(a_batch(credential="small"))
        await fetch(permit, 10)
        permit.release()
    for task in enormous:
        task.cancel()
    await asyncio.gather(*enormous, return_exceptions=True)
    assert memory.bytes.used == 500 + 10
