"""Bodies of responses, decoded into columns."""

import gzip
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.chunks import FetchedPage, UnchangedPage
from fetcher.response import (
    MAX_COMPRESSION,
    decode_page,
    decode_sites,
    decode_totals,
    decoded_size,
    digest_of,
    gunzip,
    read_page,
)
from pipeline.contracts.messages import Base
from pipeline.contracts.text import storable
from pipeline.errors import Invalid, Retryable
from support.examples import DAY, a_batch


def row(*keys: str, **changes: Any) -> dict[str, Any]:
    return {"keys": [DAY.isoformat(), *keys], "clicks": 1, "impressions": 2.0, "ctr": 0.5, "position": 3.5} | changes


def decoded(*rows: dict[str, Any], **more: Any) -> FetchedPage:
    return decode_page(a_batch(), json.dumps({"rows": list(rows), **more}).encode())


def test_rows_become_columns_without_the_date() -> None:
    page = decoded(row("q1", "p1"), row("q2", "p2", clicks=7))
    assert page.keys == (["q1", "q2"], ["p1", "p2"])
    assert page.clicks == [1.0, 7.0]
    assert page.position == [3.5, 3.5]


def test_rows_may_be_absent() -> None:
    page = decode_page(a_batch(), b'{"responseAggregationType":"byPage"}')
    assert page.rows == 0
    assert page.keys == ([], [])


def test_a_report_without_the_date_has_all_its_dimensions_as_columns() -> None:
    body = json.dumps({"rows": [row("q", "p", keys=["q", "p"])]}).encode()
    assert decode_page(a_batch(dimensions=("query", "page")), body).keys == (["q"], ["p"])


def test_a_search_type_without_positions_has_none() -> None:
    body = json.dumps({"rows": [row("q", "p")]}).encode()
    assert decode_page(a_batch(search_type="discover"), body).position is None


@pytest.mark.parametrize("name", ["first_incomplete_date", "firstIncompleteDate"])
def test_both_spellings_of_the_first_incomplete_date_are_read(name: str) -> None:
    assert decoded(metadata={name: "2026-02-27"}).first_incomplete_date.isoformat() == "2026-02-27"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["first_incomplete_hour", "firstIncompleteHour"])
def test_hourly_data_is_incomplete_from_the_day_of_its_first_incomplete_hour(name: str) -> None:
    page = decoded(metadata={name: "2026-02-27T23:00:00-08:00"})
    assert page.first_incomplete_date.isoformat() == "2026-02-27"  # type: ignore[union-attr]


def test_characters_that_cannot_be_stored_are_escaped() -> None:
    page = decoded(row("nul\x00", "lone \ud800"), row("日本語 🚀", "p"))
    assert page.keys == (["nul\\x00", "日本語 🚀"], ["lone \\ud800", "p"])


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["\x00", "\ud800", "\udbff", "\udc00", "\udfff", "\\", "\\\\", "u0000", "ud800", "🚀", "q"]
            ),
            st.text(max_size=3),
        ),
        max_size=8,
    ).map("".join)
)
def test_any_text_that_json_can_hold_becomes_its_storable_form(text: str) -> None:
    text = json.loads(json.dumps(text))  # a high and a low surrogate beside each other are one character
    assert decoded(row(text, "p"), row("\ud800", text)).keys == ([storable(text), "\\ud800"], ["p", storable(text)])


def test_escapes_with_capital_letters_are_read_alike() -> None:
    body = json.dumps({"rows": [row("q\ud83d", "\ude80")]}).replace("d83d", "D83D").replace("de80", "DE80")
    assert decode_page(a_batch(), body.encode()).keys == (["q\\ud83d"], ["\\ude80"])


NOT_UTF8 = b'{"rows": [{"keys": ["2026-03-01", "\xff", "p"], "clicks": 1, "impressions": 1, "ctr": 1}]}'
NESTED = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "body",
    [b"", b'{"rows": [', b"<html>", b'{"rows": 7}', b'{"rows": [{"keys": []}]}', b"[]", NOT_UTF8, NESTED],
)
def test_a_body_that_does_not_decode_is_retried(body: bytes) -> None:
    with pytest.raises(Retryable):
        decode_page(a_batch(), body)


def test_rows_of_another_day_or_with_too_few_keys_are_invalid() -> None:
    with pytest.raises(Invalid, match="other days than 2026-03-01"):
        decoded({**row("q", "p"), "keys": ["2026-03-02", "q", "p"]})
    with pytest.raises(Invalid, match="do not have 3 keys"):
        decoded({**row("q", "p"), "keys": ["2026-03-01", "q"]})


def test_a_list_of_properties_gives_permission_levels() -> None:
    body = b'{"siteEntry": [{"siteUrl": "sc-domain:a.com", "permissionLevel": "siteOwner"}, {"siteUrl": "https://b/"}]}'
    assert decode_sites(body) == {"sc-domain:a.com": "siteOwner", "https://b/": ""}
    assert decode_sites(b"{}") == {}


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b"[]", b'{"siteEntry": [{}]}', NESTED])
def test_a_response_that_is_not_a_list_of_properties_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid, match="not a list of properties"):
        decode_sites(body)


def test_totals_are_clicks_and_impressions_by_date() -> None:
    assert decode_totals(json.dumps({"rows": [row(clicks=7)]}).encode()) == {DAY: (7.0, 2.0)}


@pytest.mark.parametrize("keys", [[], ["today"]])
def test_totals_without_a_date_are_retried(keys: list[str]) -> None:
    with pytest.raises(Retryable, match="without a date"):
        decode_totals(json.dumps({"rows": [row(keys=keys)]}).encode())


def test_a_gzipped_body_is_decompressed() -> None:
    assert gunzip(gzip.compress(b"x" * 1000)) == b"x" * 1000


def test_the_decoded_size_is_known_before_and_is_plausible() -> None:
    assert decoded_size(gzip.compress(b"x" * 1000)) == 1000
    assert decoded_size(gzip.compress(b"")) == 0
    assert decoded_size(b"\xff" * 10) == 10 * MAX_COMPRESSION


def test_a_gzipped_body_that_is_truncated_is_retried() -> None:
    complete = gzip.compress(b"x" * 1000)
    for end in (5, len(complete) // 2, len(complete) - 1):
        with pytest.raises(Retryable, match="truncated"):
            gunzip(complete[:end])


def test_a_gzipped_body_that_is_damaged_is_retried() -> None:
    complete = gzip.compress(b"x" * 1000)
    for damaged in (complete[:10] + b"\xff" * 20, complete[:-8] + b"12345678"):
        with pytest.raises(Retryable, match="damaged"):
            gunzip(damaged)


def test_a_body_that_is_not_gzip_is_retried() -> None:
    with pytest.raises(Retryable, match="not gzip"):
        gunzip(b"{}")


ROWS = [
    {"keys": [DAY.isoformat(), query, "p"], "clicks": 1, "impressions": 2, "ctr": 0.5, "position": 1.5}
    for query in ("a", "b", "a\ud83d")
]


def read(rows: list[dict[str, Any]], base: str = "0" * 32, **more: Any) -> FetchedPage | UnchangedPage:
    batch = a_batch(base=Base(generation=4, digests=(base,)))
    return read_page(batch, json.dumps({"rows": rows, **more}).encode())


def digest(rows: list[dict[str, Any]]) -> str:
    page = read(rows)
    assert isinstance(page, FetchedPage)
    assert page.digest is not None
    return page.digest


def test_a_page_with_the_rows_of_the_base_is_unchanged_in_whatever_order() -> None:
    same = read(list(reversed(ROWS)), base=digest(ROWS), metadata={"firstIncompleteDate": "2026-03-01"})
    assert same == UnchangedPage(3, digest(ROWS), date(2026, 3, 1))


@pytest.mark.parametrize("field", ["clicks", "impressions", "ctr", "position"])
def test_a_page_with_another_number_in_a_row_is_changed(field: str) -> None:
    assert isinstance(read([{**ROWS[0], field: 9}, *ROWS[1:]], base=digest(ROWS)), FetchedPage)


def test_a_page_whose_rows_have_swapped_a_number_is_changed() -> None:
    rows = [{**row, "clicks": number} for number, row in enumerate(ROWS)]
    swapped = [{**rows[0], "clicks": 1}, {**rows[1], "clicks": 0}, rows[2]]
    assert digest(rows) != digest(swapped)


def test_a_page_with_fewer_or_repeated_rows_is_changed() -> None:
    assert len({digest(rows) for rows in ([], ROWS[:1], ROWS[:2], ROWS[:1] * 2, ROWS)}) == 5


def test_a_digest_never_changes() -> None:
    """Another release must derive the same one, or every page is fetched with its rows once more."""
    assert digest_of([b"{}", b"[]"]) == digest_of([b"[]", b"{}"]) == "9b7f8039d0c0ef141ac9d23d197beb2b"


def test_a_response_that_is_no_page_is_an_error_as_without_a_base() -> None:
    for body in (b"{", b'{"rows": [{}]}', b'{"rows": 7}'):
        with pytest.raises(Retryable):
            read_page(a_batch(), body)
