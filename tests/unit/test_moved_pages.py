"""Pending pages follow their property to another credential."""

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from pipeline.catalog import Catalog
from pipeline.clock import monotonic
from pipeline.ledger import pages as ledger_pages
from pipeline.postgres import Connection
from producer.moved_pages import LOOK_EVERY_S, PAGES_AT_ONCE, MovedPages
from support.fetcher import CATALOG, PROPERTY
from support.wait import until

CONN = cast("Connection", None)
EMPTY: Catalog = CATALOG.model_copy(update={"properties": ()})


class Ledger:
    """Moves pages, as many as are left at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int = 0) -> None:
        self.left = left
        self.moves: list[Mapping[str, str]] = []
        monkeypatch.setattr(ledger_pages, "move", self.move)

    async def move(self, _: Connection, credentials: Mapping[str, str], limit: int) -> int:
        self.moves.append(credentials)
        moved = min(self.left, limit)
        self.left -= moved
        return moved


async def test_pages_are_moved_at_the_start_and_by_each_new_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, stop = Ledger(monkeypatch), asyncio.Event()
    monkeypatch.setattr("producer.moved_pages.CHECK_EVERY_S", 0.0)
    catalogs = [CATALOG, EMPTY]
    task = asyncio.create_task(MovedPages(lambda: catalogs[min(len(ledger.moves), 1)]).run(stop, CONN))
    await until(lambda: len(ledger.moves) >= 2, 5, "both catalogs are used")
    stop.set()
    await task
    assert ledger.moves == [{PROPERTY: "acme"}, {}]


async def test_many_pages_are_moved_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(monkeypatch, left=2 * PAGES_AT_ONCE + 1)
    await MovedPages(lambda: CATALOG).move(CONN)
    assert (ledger.left, len(ledger.moves)) == (0, 4)


async def test_an_unchanged_catalog_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(monkeypatch)
    pages = MovedPages(lambda: CATALOG)
    assert pages.is_due(monotonic())
    await pages.move(CONN)
    assert not pages.is_due(monotonic())
    assert pages.is_due(monotonic() + LOOK_EVERY_S)
