"""What bounds the calls of a process: slots for each credential, and room in memory for the pages. Pure.

A credential whose calls hang fills only its own slots. Among its properties, one whose calls hang leaves the others at
least half of them.

Room in memory is for pages that are fetched and not yet acknowledged by the broker, in pages and in bytes. A page needs
a place before its body is read, which may hang, and bytes before the body is decoded: compressed bodies are small,
decoded ones are not.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.contracts.messages import Batch


class CallSlots:
    """Calls in flight, by credential and property."""

    def __init__(self, per_credential: int) -> None:
        self._per_credential = per_credential
        self._share = max(1, per_credential // 2)
        """What one property may hold while others of its credential have work."""
        self._credentials: Counter[str] = Counter()
        self._properties: Counter[str] = Counter()

    def take(self, batch: Batch) -> None:
        """Count a call that starts."""
        self._credentials[batch.credential] += 1
        self._properties[batch.property] += 1

    def release(self, batch: Batch) -> None:
        """Count a call that has ended."""
        for counts, key in ((self._credentials, batch.credential), (self._properties, batch.property)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def is_full(self, credential: str) -> bool:
        """Whether no more calls of a credential may start."""
        return self._credentials[credential] >= self._per_credential

    def is_share_used(self, batch: Batch, others_wait: bool) -> bool:
        """Whether a property must leave the free slots to others of its credential.

        `others_wait`: batches of other properties are queued. Calls in flight of others count as their work, too.
        """
        own = self._properties[batch.property]
        return own >= self._share and (others_wait or self._credentials[batch.credential] > own)


class _Waiter(NamedTuple):
    amount: int
    granted: "asyncio.Future[None]"


class SharedRoom:
    """A bounded amount, given to its owners in turns.

    Once there are several owners, none may hold more than is left free, so that others always find some. What is larger
    than the room, or than a share, is granted to an owner that holds nothing, as soon as it fits or nothing is held.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()
        self._owners: set[str] = set()
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()

    @property
    def used(self) -> int:
        """The amount that all owners hold."""
        return self._held.total()

    async def acquire(self, owner: str, amount: int) -> None:
        """Wait for an amount."""
        self._owners.add(owner)
        waiter = _Waiter(amount, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(owner, deque()).append(waiter)
        self._grant()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            self._give_up(owner, waiter)
            raise

    def release(self, owner: str, amount: int) -> None:
        """Give an amount back."""
        self._held[owner] -= amount
        self._grant()

    def _give_up(self, owner: str, waiter: _Waiter) -> None:
        if not waiter.granted.cancelled():  # granted at the same moment
            self.release(owner, waiter.amount)
        else:
            self._grant()

    def _grant(self) -> None:
        """Grant what fits, one waiter of each owner in turn."""
        self._drop_cancelled()
        while (owner := self._next_owner()) is not None:
            waiter = self._waiting[owner].popleft()
            self._waiting.move_to_end(owner)
            self._held[owner] += waiter.amount
            waiter.granted.set_result(None)
            self._drop_cancelled()

    def _drop_cancelled(self) -> None:
        for owner, waiters in list(self._waiting.items()):
            while waiters and waiters[0].granted.cancelled():
                waiters.popleft()
            if not waiters:
                del self._waiting[owner]

    def _next_owner(self) -> str | None:
        """Return the first owner below its share; None when its amount does not fit, since none may overtake it."""
        free = self._limit - self.used
        for owner, waiters in self._waiting.items():
            held, amount = self._held[owner], waiters[0].amount
            if held == 0 or len(self._owners) == 1 or held + amount <= free:
                return owner if amount <= free or not self.used else None
        return None


class PageMemory:
    """The room of a process: `max_pages` pages, of which the decoded bodies have `max_bytes` bytes together."""

    def __init__(self, max_pages: int, max_bytes: int) -> None:
        self.pages = SharedRoom(max_pages)
        self.bytes = SharedRoom(max_bytes)

    def permit(self, credential: str) -> "PagePermit":
        """Return a permit for one page, which has no room yet."""
        return PagePermit(self, credential)


class PagePermit:
    """The room of one page. It is released once, even before it is acquired: then it takes none."""

    def __init__(self, memory: PageMemory, credential: str) -> None:
        self._memory = memory
        self._credential = credential
        self._held: list[tuple[SharedRoom, int]] = []
        self.released = False

    async def admit(self, others: Sequence["PagePermit"] = ()) -> None:
        """Wait until the page may be read; with `others`, until all these pages of one credential may."""
        await self._acquire(self._memory.pages, 1, others)

    async def reserve(self, size: int, others: Sequence["PagePermit"] = ()) -> None:
        """Wait until a body of `size` bytes may be decoded, which belongs to this page, or to all of these."""
        await self._acquire(self._memory.bytes, -(-size // (1 + len(others))), others)

    async def _acquire(self, room: SharedRoom, each: int, others: Sequence["PagePermit"]) -> None:
        permits = [permit for permit in (self, *others) if not permit.released]
        if permits:
            await room.acquire(self._credential, each * len(permits))
        for permit in permits:
            permit.hold(room, each)

    def hold(self, room: SharedRoom, amount: int) -> None:
        """Keep an amount that was acquired until the release."""
        if self.released:
            room.release(self._credential, amount)
        else:
            self._held.append((room, amount))

    def release(self) -> None:
        """Give the room back, now or as soon as it is acquired."""
        self.released = True
        while self._held:
            room, amount = self._held.pop()
            room.release(self._credential, amount)
