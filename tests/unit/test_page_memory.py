"""Room in memory, given in turns."""

import asyncio

import pytest

from fetcher.capacity import PageMemory, PagePermit, SharedRoom


async def acquired(room: SharedRoom, owner: str, amount: int = 1) -> "asyncio.Task[None]":
    """Ask for an amount; the task is done if it was granted at once."""
    task = asyncio.create_task(room.acquire(owner, amount))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_an_owner_without_others_may_hold_everything() -> None:
    room = SharedRoom(3)
    assert [(await acquired(room, "a")).done() for _ in range(4)] == [True, True, True, False]
    assert room.used == 3


async def test_of_several_owners_none_takes_what_the_others_need() -> None:
    room = SharedRoom(10)
    (await acquired(room, "b")).result()
    room.release("b", 1)
    assert sum([(await acquired(room, "a")).done() for _ in range(10)]) == 5
    assert sum([(await acquired(room, "b")).done() for _ in range(10)]) == 3
    assert (await acquired(room, "c")).done()


async def test_room_is_given_in_turns() -> None:
    room = SharedRoom(1)
    await acquired(room, "a")
    waiting = [(owner, await acquired(room, owner)) for owner in ("a", "a", "a", "b", "c")]
    order = []
    holder = "a"
    for _ in range(5):
        room.release(holder, 1)
        await settle()
        [number] = [n for n, (_, task) in enumerate(waiting) if task.done()]
        holder, _ = waiting.pop(number)
        order.append(holder)
    assert order == ["a", "b", "c", "a", "a"]


async def test_what_is_larger_than_the_room_is_taken_alone_and_not_overtaken() -> None:
    room = SharedRoom(10)
    await acquired(room, "a", 3)
    large = await acquired(room, "b", 50)
    small = await acquired(room, "c", 1)
    assert (large.done(), small.done()) == (False, False)
    room.release("a", 3)
    await settle()
    assert (large.done(), small.done(), room.used) == (True, False, 50)
    room.release("b", 50)
    await settle()
    assert small.done()


@pytest.mark.parametrize("granted", [False, True])
async def test_a_waiter_that_is_cancelled_leaves_its_room_to_the_next(granted: bool) -> None:
    room = SharedRoom(1)
    await acquired(room, "a")
    first, second = await acquired(room, "a"), await acquired(room, "b")
    if granted:
        room.release("a", 1)  # and cancelled before it notices
    first.cancel()
    if not granted:
        room.release("a", 1)
    await asyncio.gather(first, return_exceptions=True)
    await settle()
    assert (first.cancelled(), second.done(), room.used) == (True, True, 1)


async def test_a_permit_holds_a_page_and_its_bytes_until_it_is_released() -> None:
    memory = PageMemory(10, 1000)
    permit = memory.permit("acme")
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
    first, second = memory.permit("acme"), memory.permit("acme")
    await first.admit()
    waiting = asyncio.create_task(second.admit())
    await settle()
    second.release()
    first.release()
    await waiting
    assert memory.pages.used == 0


async def test_a_credential_with_enormous_pages_leaves_room_for_the_others() -> None:
    """Each page of one fills half of the memory; pages of another are read meanwhile, without waiting for it."""
    memory = PageMemory(10, 1000)
    small = memory.permit("small")
    await small.admit()
    await small.reserve(10)

    async def fetch(permit: PagePermit, size: int) -> None:
        await permit.admit()
        await permit.reserve(size)

    enormous = [asyncio.create_task(fetch(memory.permit("enormous"), 500)) for _ in range(10)]
    await settle()
    assert sum(task.done() for task in enormous) == 1
    for _ in range(20):
        permit = memory.permit("small")
        await fetch(permit, 10)
        permit.release()
    for task in enormous:
        task.cancel()
    await asyncio.gather(*enormous, return_exceptions=True)
    assert memory.bytes.used == 500 + 10
