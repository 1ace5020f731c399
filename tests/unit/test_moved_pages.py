"""Pending pages follow their property to another credential."""

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from pipeline.ledger import pages as ledger_pages
from pipeline.postgres import Connection
from producer.moved_pages import MovedPages
from support.fetcher import CATALOG, PROPERTY
from support.wait import until


async def test_pages_are_moved_at_the_start_and_regularly_by_the_present_catalog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[Mapping[str, str]] = []
    stop, catalogs = asyncio.Event(), [CATALOG, CATALOG.model_copy(update={"properties": ()})]

    async def move(_: Connection, credentials: Mapping[str, str]) -> int:
        moved.append(credentials)
        return 0

    monkeypatch.setattr(ledger_pages, "move", move)
    monkeypatch.setattr("producer.moved_pages.CHECK_EVERY_S", 0.0)
    task = asyncio.create_task(MovedPages(lambda: catalogs[min(len(moved), 1)]).run(stop, cast("Connection", None)))
    await until(lambda: len(moved) >= 2, 5, "both catalogs are used")
    stop.set()
    await task
    assert moved[:2] == [{PROPERTY: "acme"}, {}]
