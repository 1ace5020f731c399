"""Messages and pages for tests."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from pipeline.contracts.identity import Page, batch_id
from pipeline.contracts.messages import Batch, Rows
from pipeline.contracts.resources import (
    CredentialStatus,
    PropertyStatus,
    RunProgress,
    ServiceStatus,
    StatusReport,
    finished_count,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)


def a_batch(**changes: Any) -> Batch:
    batch = Batch(
        batch_id="",
        run_id="run-1",
        generation=5,
        priority="backfill",
        credential="acme",
        property="sc-domain:example.com",
        report="page_query",
        search_type="web",
        dimensions=("date", "query", "page"),
        data_state="final",
        date=DAY,
        start_row=0,
        row_limit=25_000,
    )
    batch = msgspec.structs.replace(batch, **changes)
    page = Page(batch.property, batch.report, batch.search_type, batch.date, batch.start_row, batch.generation)
    return batch if batch.batch_id else msgspec.structs.replace(batch, batch_id=batch_id(page))


def a_run(pages: Mapping[str, int], **changes: Any) -> RunProgress:
    """A run that was planned at NOW, with pages by state."""
    run = RunProgress(
        run_id="run-1",
        request_id="request-1",
        generation=5,
        state="running" if finished_count(pages) < sum(pages.values()) else "finished",
        priority="backfill",
        requested_by="cli",
        start=DAY,
        end=DAY,
        accepted_at=NOW,
        planned_at=NOW,
        cancelled_at=None,
        pages=dict(pages),
        rows=7,
        finished_last_minute=0,
    )
    return msgspec.structs.replace(run, **changes)


def a_credential(name: str = "acme", **changes: Any) -> CredentialStatus:
    return CredentialStatus(**{"credential": name, "properties": 1, "newest_complete_day": DAY, **changes})


def a_property(name: str = "sc-domain:example.com", **changes: Any) -> PropertyStatus:
    return PropertyStatus(**{"property": name, "credential": "acme", "newest_complete_day": DAY, **changes})


def a_report(**changes: Any) -> StatusReport:
    values: dict[str, Any] = {
        "at": NOW,
        "services": [ServiceStatus("producer", 1, 0), ServiceStatus("fetcher", 2, 5), ServiceStatus("sink", 1, 0)],
        "has_leader": True,
        "credentials": [a_credential()],
        "properties": [a_property()],
        "partitions": [],
        "planning": [],
        "pages": {"applied": 60},
        "unchanged_pages": 0,
        "days": {"complete": 30},
        "halts": [],
    }
    return StatusReport(**{**values, **changes})


def some_rows(batch: Batch, texts: list[str], **changes: Any) -> Rows:
    """A chunk with a row for each text; clicks count up from 1."""
    count = len(texts)
    rows = Rows(
        batch=batch,
        fetch_id="fetch-1",
        fetched_at=NOW,
        chunk=0,
        chunks=1,
        page_rows=count,
        next_start_row=None,
        keys=(list(texts), [f"https://example.com/{text}" for text in texts]),
        clicks=[float(n + 1) for n in range(count)],
        impressions=[float(10 * (n + 1)) for n in range(count)],
        ctr=[0.1] * count,
        position=[1.5] * count,
    )
    return msgspec.structs.replace(rows, **changes)


CATALOG = """\
credentials:
  - {id: acme, type: authorized_user, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme}
"""
CREDENTIAL = {"client_id": "x", "client_secret": "x", "refresh_token": "x", "token_uri": "http://127.0.0.1:1/token"}


def write_catalog(folder: Path) -> Path:
    """Write a catalog of one property, and its credential file; return the catalog's path."""
    (folder / "acme.json").write_text(json.dumps(CREDENTIAL))
    path = folder / "catalog.yaml"
    path.write_text(CATALOG)
    return path
