"""What the fetcher publishes for a page."""

from dataclasses import replace

from fetcher.chunks import FetchedPage, UnchangedPage
from fetcher.results import ResultPublisher
from fetcher.schedule import Job
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.messages import Base, Batch, Rows, Unchanged
from pipeline.pacific import pacific_date
from support.examples import a_batch
from support.fetcher import World


def a_page(rows: int) -> FetchedPage:
    texts = [str(number) for number in range(rows)]
    return FetchedPage((texts, texts), [1.0] * rows, [1.0] * rows, [1.0] * rows, None)


async def test_a_full_page_is_followed_by_the_batch_of_the_next_page() -> None:
    world, batch = World(), a_batch(row_limit=3)
    await ResultPublisher(world, "gsc", "full-page").page(Job(batch, 0, 0), a_page(3))
    assert [topic for topic, _ in world.published] == ["gsc.results", "gsc.batches"]
    [rows], [following] = world.results(), world.on("gsc.batches")
    assert codec.decode(Rows, rows).next_start_row == 3
    assert codec.decode(Batch, following) == a_batch(row_limit=3, start_row=3)


async def test_the_last_page_is_followed_by_nothing() -> None:
    world, batch = World(), a_batch(row_limit=3)
    await ResultPublisher(world, "gsc", "full-page").page(Job(batch, 0, 0), a_page(2))
    [(topic, rows)] = world.published
    assert topic == "gsc.results"
    assert codec.decode(Rows, rows or b"").next_start_row is None


async def test_an_empty_page_of_today_may_still_change() -> None:
    world, today = World(), pacific_date(now())
    await ResultPublisher(world, "gsc", "full-page").page(Job(a_batch(date=today), 0, 0), a_page(0))
    [rows] = world.results()
    assert codec.decode(Rows, rows).first_incomplete_date == today


async def test_each_fetch_of_a_page_has_its_own_id() -> None:
    world = World()
    results = ResultPublisher(world, "gsc", "full-page")
    for _ in range(2):
        await results.page(Job(a_batch(), 0, 0), a_page(1))
    first, second = [codec.decode(Rows, value) for value in world.results()]
    assert first.fetch_id != second.fetch_id


async def test_of_an_unchanged_page_the_digest_is_published_and_the_next_page_has_the_same_base() -> None:
    world, base = World(), Base(generation=4, digests=("a" * 32, "b" * 32))
    page = UnchangedPage(3, "a" * 32)
    await ResultPublisher(world, "gsc", "full-page").page(Job(a_batch(row_limit=3, base=base), 0, 0), page)
    [value], [following] = world.results(), world.on("gsc.batches")
    result = codec.decode(Unchanged, value)
    assert (result.batch, result.page_rows, result.next_start_row) == (a_batch(row_limit=3), 3, 3)
    assert (result.digest, result.base_generation) == ("a" * 32, 4)
    assert codec.decode(Batch, following) == a_batch(row_limit=3, start_row=3, base=base)


async def test_rows_have_their_digest_and_no_base() -> None:
    world, base = World(), Base(generation=4, digests=("a" * 32,))
    page = replace(a_page(1), digest="b" * 32)
    await ResultPublisher(world, "gsc", "full-page").page(Job(a_batch(base=base), 0, 0), page)
    [rows] = [codec.decode(Rows, value) for value in world.results()]
    assert (rows.digest, rows.batch) == ("b" * 32, a_batch())
