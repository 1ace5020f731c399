"""A page as messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.chunks import Fetch, FetchedPage, chunks
from pipeline.contracts import codec
from pipeline.contracts.messages import Rows
from pipeline.errors import Invalid
from support.examples import DAY, NOW, a_batch


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=200), max_size=80), limit=st.integers(2000, 6000))
def test_chunks_stay_below_the_limit_and_together_hold_the_page(texts: list[str], limit: int) -> None:
    count = len(texts)
    page = FetchedPage((texts, texts), [1.0] * count, [2.0] * count, [0.5] * count, None)
    encoded = chunks(Fetch(a_batch(), "f", NOW, None), page, limit)
    messages = [codec.decode(Rows, data) for data in encoded]
    assert max(map(len, encoded)) <= limit
    assert [m.chunk for m in messages] == list(range(len(messages)))
    assert {(m.chunks, m.page_rows) for m in messages} == {(len(messages), count)}
    assert [text for m in messages for text in m.keys[0]] == texts


def test_each_chunk_has_the_fields_of_its_fetch_and_its_part_of_every_column() -> None:
    texts = ["x" * 900, "y" * 900, "z" * 900]
    page = FetchedPage((texts,), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.1, 0.2, 0.3], [7.0, None, 9.0], DAY)
    encoded = chunks(Fetch(a_batch(), "f", NOW, 25_000), page, 2000)
    messages = [codec.decode(Rows, data) for data in encoded]
    assert len(messages) > 1
    assert {(m.fetch_id, m.fetched_at, m.next_start_row, m.first_incomplete_date) for m in messages} == {
        ("f", NOW, 25_000, DAY)
    }
    assert [m.batch for m in messages] == [a_batch()] * len(messages)
    assert [value for m in messages for value in m.position or []] == page.position
    assert [value for m in messages for value in m.clicks] == page.clicks
    assert [value for m in messages for value in m.impressions] == page.impressions
    assert [value for m in messages for value in m.ctr] == page.ctr


@pytest.mark.parametrize("rows", [1, 3])
def test_a_row_that_is_larger_than_a_message_is_invalid(rows: int) -> None:
    page = FetchedPage((["x" * 5000] * rows, ["y"] * rows), [1.0] * rows, [2.0] * rows, [0.5] * rows, None)
    with pytest.raises(Invalid, match="a row takes more than 2000 bytes"):
        chunks(Fetch(a_batch(), "f", NOW, None), page, 2000)


def test_a_page_whose_last_rows_are_the_longest_still_has_small_chunks() -> None:
    texts = ["x"] * 2000 + ["y" * 1000] * 40
    page = FetchedPage((texts,), [1.0] * 2040, [2.0] * 2040, [0.5] * 2040, None)
    encoded = chunks(Fetch(a_batch(), "f", NOW, None), page, 20_000)
    assert max(map(len, encoded)) <= 20_000
    assert [text for data in encoded for text in codec.decode(Rows, data).keys[0]] == texts
