"""CPU time that the fetcher's pure stages take for one full page: decompress, decode, encode; or find it unchanged."""

import gzip
import json
from collections.abc import Callable
from datetime import date, timedelta
from time import thread_time_ns
from typing import Any

from msgspec.structs import replace

from bench.results import write
from fetcher.chunks import Fetch, FetchedPage, chunks
from fetcher.response import gunzip, read_page
from lab.call_log import percentile
from lab.search_console.pages import render_body
from lab.search_console.requests import parse_query
from lab.search_console.settings import Site
from lab.search_console.world import PAGE_LIMIT, Day, rows_of
from pipeline.clock import now
from pipeline.contracts.messages import Base, Batch

DAY = date(2026, 1, 1)
SITE = Site(url="sc-domain:shop-1.example", users=("reader",), full_days=(DAY,))
DIMENSIONS = ("date", "query", "page", "country", "device")


def run(repeats: int) -> None:
    """Measure each stage `repeats` times; the page has 25,000 rows, some with text that PostgreSQL cannot store."""
    body = _body()
    data = gunzip(body)
    batch = _batch()
    page = _fetched(batch, data)
    same = replace(batch, base=Base(generation=1, digests=(page.digest or "",)))
    fetch = Fetch(batch, "0" * 32, now(), None)
    figures = {
        "gunzip": _cost_ms(repeats, lambda: gunzip(body)),
        "decode": _cost_ms(repeats, lambda: read_page(batch, data)),
        "encode": _cost_ms(repeats, lambda: chunks(fetch, page)),
        "all": _cost_ms(repeats, lambda: chunks(fetch, _fetched(batch, gunzip(body)))),
        "all_unchanged": _cost_ms(repeats, lambda: read_page(same, gunzip(body))),
    }
    sizes = {"gzip_bytes": len(body), "json_bytes": len(data), "message_bytes": sum(map(len, chunks(fetch, page)))}
    write("page", {"rows": page.rows, **sizes, "cpu_p50_ms": figures})


def _fetched(batch: Batch, data: bytes) -> FetchedPage:
    page = read_page(batch, data)
    if not isinstance(page, FetchedPage):
        raise TypeError("a page without a base is never unchanged")
    return page


def _cost_ms(repeats: int, stage: Callable[[], object]) -> float:
    costs = []
    for _ in range(repeats):
        began = thread_time_ns()
        result = stage()
        costs.append((thread_time_ns() - began) / 1e6)
        del result  # not within the next measurement
    return round(percentile(costs, 0.5), 1)


def _body() -> bytes:
    request: dict[str, Any] = {"startDate": DAY.isoformat(), "endDate": DAY.isoformat(), "dimensions": DIMENSIONS}
    query = parse_query(json.dumps({**request, "rowLimit": PAGE_LIMIT}).encode(), DAY + timedelta(days=9))
    rows = rows_of(Day(1, SITE, DAY, "web"), DIMENSIONS)
    return gzip.compress(render_body(query, rows, DAY + timedelta(days=9)), 1)


def _batch() -> Batch:
    return Batch(
        batch_id="page",
        run_id="run",
        generation=1,
        priority="backfill",
        credential="reader",
        property=SITE.url,
        report="page_query",
        search_type="web",
        dimensions=DIMENSIONS,
        data_state="final",
        date=DAY,
        start_row=0,
        row_limit=PAGE_LIMIT,
    )
