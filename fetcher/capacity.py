"""What bounds the calls of a process: slots for each credential, and room in memory for the pages. Pure.

A credential whose calls hang fills only its own slots. Among its properties, one whose calls hang leaves the others at
least half of them.

Room in memory is for pages that are fetched and not yet acknowledged by the broker, in pages and in bytes. A page needs
a place before its body is read, which may hang, and bytes before the body is decoded: compressed bodies are small,
decoded ones are not.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from pipeline.contracts.messages import Batch

LEAST_PLACES = 2
"""The least share of a credential in the places for pages, so that two of its properties have one each."""


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


@dataclass(eq=False)
class _Request:
    credential: str
    amounts: Counter[str]
    """How much is requested for each property."""
    granted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def amount(self) -> int:
        return self.amounts.total()


class SharedRoom(ABC):
    """Room that credentials share; those that wait take turns.

    The share of a credential is the limit divided by the number of credentials that hold some or wait for some.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._credentials: Counter[str] = Counter()
        self._properties: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[_Request]] = OrderedDict()

    @property
    def used(self) -> int:
        """The amount that all credentials hold."""
        return self._credentials.total()

    def _share(self) -> int:
        return self._limit // max(1, len(self._credentials.keys() | self._waiting.keys()))

    async def acquire(self, credential: str, amounts: Counter[str]) -> None:
        """Wait for an amount for each of these properties of a credential, for all of them at the same time."""
        request = _Request(credential, amounts)
        self._waiting.setdefault(credential, deque()).append(request)
        self._grant()
        try:
            await request.granted.wait()
        except asyncio.CancelledError:
            self._give_up(request)
            raise

    def release(self, credential: str, url: str, amount: int) -> None:
        """Give the amount of a property back."""
        for counts, key in ((self._credentials, credential), (self._properties, url)):
            counts[key] -= amount
            if not counts[key]:
                del counts[key]
        self._grant()

    def _give_up(self, request: _Request) -> None:
        if not request.granted.is_set():
            self._remove(request)
            self._grant()
            return
        for url, amount in request.amounts.items():  # granted at the same moment
            self.release(request.credential, url, amount)

    def _remove(self, request: _Request) -> None:
        requests = self._waiting[request.credential]
        requests.remove(request)
        if not requests:
            del self._waiting[request.credential]

    def _grant(self) -> None:
        while (request := self._next()) is not None:
            self._waiting.move_to_end(request.credential)
            self._remove(request)
            self._credentials[request.credential] += request.amount
            self._properties += request.amounts
            request.granted.set()

    @abstractmethod
    def _next(self) -> _Request | None:
        """Return the request that may be granted now, or None."""


class PagePlaces(SharedRoom):
    """Places for pages whose bodies are read, or wait for the broker.

    A body may hang, so no credential waits for the places of another: within its share it gets one at once, even beyond
    the limit, and more than its share as long as the limit is not reached. A property has at most half of the share of
    its credential, so others of the credential find the other half.
    """

    def _next(self) -> _Request | None:
        share = max(self._share(), min(LEAST_PLACES, self._limit))
        requests = chain.from_iterable(self._waiting.values())
        return next((request for request in requests if self._may_enter(request, share)), None)

    def _may_enter(self, request: _Request, share: int) -> bool:
        held = self._credentials[request.credential]
        if not held:
            return True
        of_property = max(1, share // 2)
        if any(self._properties[url] + amount > of_property for url, amount in request.amounts.items()):
            return False
        return held + request.amount <= share or self.used + request.amount <= self._limit


class PageBytes(SharedRoom):
    """Bytes of decoded bodies, which are held only until the broker has acknowledged the rows.

    The limit always holds, except that what is larger is granted alone. Credentials within their share go first, and
    the first of them is not overtaken while it does not fit.
    """

    def _next(self) -> _Request | None:
        first, share = [requests[0] for requests in self._waiting.values()], self._share()
        within = (request for request in first if self._is_within(request, share))
        request = next(within, None) or next(filter(self._fits, first), None)
        return request if request and self._fits(request) else None

    def _is_within(self, request: _Request, share: int) -> bool:
        held = self._credentials[request.credential]
        return not held or held + request.amount <= share

    def _fits(self, request: _Request) -> bool:
        return not self.used or self.used + request.amount <= self._limit


class PageMemory:
    """The room of a process: `max_pages` pages, of which the decoded bodies have `max_bytes` bytes together."""

    def __init__(self, max_pages: int, max_bytes: int) -> None:
        self.pages = PagePlaces(max_pages)
        self.bytes = PageBytes(max_bytes)

    def permit(self, batch: Batch) -> "PagePermit":
        """Return a permit for a page, which has no room yet."""
        return PagePermit(self, batch)


class PagePermit:
    """The room of one page. It is released once, even before it is acquired: then it takes none."""

    def __init__(self, memory: PageMemory, batch: Batch) -> None:
        self._memory = memory
        self._credential = batch.credential
        self.property = batch.property
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
        pages = Counter(permit.property for permit in permits)
        if permits:
            await room.acquire(self._credential, Counter({url: each * count for url, count in pages.items()}))
        for permit in permits:
            permit.hold(room, each)

    def hold(self, room: SharedRoom, amount: int) -> None:
        """Keep an amount that was acquired until the release."""
        if self.released:
            room.release(self._credential, self.property, amount)
        else:
            self._held.append((room, amount))

    def release(self) -> None:
        """Give the room back, now or as soon as it is acquired."""
        self.released = True
        while self._held:
            room, amount = self._held.pop()
            room.release(self._credential, self.property, amount)
