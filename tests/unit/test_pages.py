"""From the body of an answer to messages: decoding, paging, chunking."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.chunks import Fetch, FetchedPage, chunks
from fetcher.next_page import next_batch, next_start_row
from fetcher.response import page_of, sites_of, totals_of, unzipped
from pipeline.contracts import codec
from pipeline.contracts.messages import Rows
from pipeline.errors import Invalid, Retryable
from support.examples import DAY, NOW, a_batch


def row(*keys: str, **changes: Any) -> dict[str, Any]:
    return {"keys": [DAY.isoformat(), *keys], "clicks": 1, "impressions": 2.0, "ctr": 0.5, "position": 3.5} | changes


def decoded(*rows: dict[str, Any], **more: Any) -> FetchedPage:
    return page_of(a_batch(), json.dumps({"rows": list(rows), **more}).encode())


def test_rows_become_columns_without_the_date() -> None:
    page = decoded(row("q1", "p1"), row("q2", "p2", clicks=7))
    assert page.keys == (["q1", "q2"], ["p1", "p2"])
    assert page.clicks == [1.0, 7.0]
    assert page.position == [3.5, 3.5]


def test_rows_may_be_absent() -> None:
    page = page_of(a_batch(), b'{"responseAggregationType":"byPage"}')
    assert page.rows == 0
    assert page.keys == ([], [])


def test_a_type_without_positions_has_none() -> None:
    body = json.dumps({"rows": [row("q", "p")]}).encode()
    assert page_of(a_batch(search_type="discover"), body).position is None


@pytest.mark.parametrize("name", ["first_incomplete_date", "firstIncompleteDate"])
def test_the_first_incomplete_date_in_both_spellings(name: str) -> None:
    assert decoded(metadata={name: "2026-02-27"}).first_incomplete_date.isoformat() == "2026-02-27"  # type: ignore[union-attr]


def test_what_cannot_be_stored_is_written_out() -> None:
    page = decoded(row("nul\x00", "lone \ud800"), row("日本語 🚀", "p"))
    assert page.keys == (["nul\\x00", "日本語 🚀"], ["lone \\ud800", "p"])


@pytest.mark.parametrize("body", [b"", b'{"rows": [', b"<html>", b'{"rows": 7}', b'{"rows": [{"keys": []}]}', b"[]"])
def test_a_body_that_does_not_decode_is_transient(body: bytes) -> None:
    with pytest.raises(Retryable):
        page_of(a_batch(), body)


def test_rows_that_were_not_asked_for_are_invalid() -> None:
    with pytest.raises(Invalid, match="other days than 2026-03-01"):
        decoded({**row("q", "p"), "keys": ["2026-03-02", "q", "p"]})
    with pytest.raises(Invalid, match="do not have 3 keys"):
        decoded({**row("q", "p"), "keys": ["2026-03-01", "q"]})


def test_an_answer_that_is_none_of_search_console() -> None:
    assert sites_of(b"{}") == []
    for body in (b"<html>", b"\xff", b"[]", b'{"siteEntry": [{}]}'):
        with pytest.raises(Invalid, match="no list of properties"):
            sites_of(body)
    for keys in ([], ["today"]):
        with pytest.raises(Retryable, match="without a date"):
            totals_of(json.dumps({"rows": [row(keys=keys)]}).encode())


def test_a_body_that_is_cut_off_is_transient() -> None:
    whole = gzip.compress(b"x" * 1000)
    assert unzipped(whole) == b"x" * 1000
    for end in (5, len(whole) // 2, len(whole) - 1):
        with pytest.raises(Retryable):
            unzipped(whole[:end])


@pytest.mark.parametrize(
    ("rule", "rows", "following"),
    [("full-page", 25_000, 25_000), ("full-page", 24_999, None), ("empty-page", 1, 25_000), ("empty-page", 0, None)],
)
def test_paging(rule: Any, rows: int, following: int | None) -> None:
    assert next_start_row(a_batch(), rows, rule) == following


def test_the_next_page_is_the_same_day_and_generation_with_an_id_of_its_own() -> None:
    batch = a_batch()
    following = next_batch(batch, 25_000)
    assert following == a_batch(start_row=25_000)
    assert following.batch_id != batch.batch_id


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=200), max_size=80), limit=st.integers(2000, 6000))
def test_chunks_are_small_and_hold_the_page(texts: list[str], limit: int) -> None:
    count = len(texts)
    page = FetchedPage((texts, texts), [1.0] * count, [2.0] * count, [0.5] * count, None)
    encoded = chunks(Fetch(a_batch(), "f", NOW, None), page, limit)
    messages = [codec.decode(Rows, data) for data in encoded]
    assert max(map(len, encoded)) <= limit
    assert [m.chunk for m in messages] == list(range(len(messages)))
    assert {(m.chunks, m.page_rows) for m in messages} == {(len(messages), count)}
    assert [text for m in messages for text in m.keys[0]] == texts


def test_a_row_beyond_all_size_is_invalid() -> None:
    page = FetchedPage((["x" * 5000], ["y"]), [1.0], [2.0], [0.5], None)
    with pytest.raises(Invalid, match="a row takes more than 2000 bytes"):
        chunks(Fetch(a_batch(), "f", NOW, None), page, 2000)
