"""Replay: what is selected, counted and changed; Kafka, PostgreSQL and the sink's writer are in memory."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date, datetime
from typing import Any

import pytest

from maintenance import replay as replay_module
from maintenance.replay import Replay, ReplayCounts, ReplayRun, Selection
from pipeline.contracts import codec
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch, PageOutcome, Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.ledger.runs import RunKey, run_of
from sink.assembly import ReceivedResult
from sink.writer import Applied
from support.examples import DAY, NOW, a_batch, some_rows

RUN = ReplayRun("replay-1", 1000)
EVERYTHING = Selection()


class World:
    """The topic, the ledger, and the writer."""

    def __init__(self, *records: Record) -> None:
        self.topic = records
        self.restored: set[RunKey] = set()
        self.progress: list[dict[int, int]] = []
        self.written: list[list[ReceivedResult]] = []
        self.unstorable: set[int] = set()

    async def records(self, _: Any) -> AsyncIterator[list[Record]]:
        for record in self.topic:
            yield [record]

    async def restore_runs(self, _: Any, batches: Iterable[Batch], now: datetime) -> None:
        self.restored |= set(map(run_of, batches))

    async def save_progress(self, _: Any, name: str, ends: Mapping[int, int]) -> None:
        self.progress.append(dict(ends))

    async def write(self, received: list[ReceivedResult]) -> Applied:
        if self.unstorable & {item.record.offset for item in received}:
            raise Invalid("PostgreSQL: value out of range")
        self.written.append(received)
        return Applied(pages=len(received), rows=9, written=3, deleted=2, days=1)

    @property
    def offsets(self) -> list[int]:
        return [item.record.offset for batch in self.written for item in batch]


def a_record(offset: int, message: Rows | PageOutcome | None = None, *, partition: int = 0) -> Record:
    message = message or some_rows(a_batch(start_row=25_000 * offset), ["a", "b"])
    return Record("gsc.results", partition, offset, b"k", codec.encode(message), 0)


async def replayed(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    selection: Selection = EVERYTHING,
    run: ReplayRun | None = None,
    dry_run: bool = False,
) -> tuple[ReplayCounts, int]:
    """The counts, and how often they were shown."""
    monkeypatch.setattr(replay_module, "runs", world)
    monkeypatch.setattr(replay_module, "save_progress", world.save_progress)
    shown: list[ReplayCounts] = []
    replay = Replay(selection, run, None if dry_run else world)  # type: ignore[arg-type]
    return await replay.run(world, {}, None, shown.append), len(shown)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (EVERYTHING, True),
        (Selection(properties=("sc-domain:example.com", "x")), True),
        (Selection(properties=("x",)), False),
        (Selection(start=DAY, end=DAY), True),
        (Selection(start=date(2026, 3, 2)), False),
        (Selection(end=date(2026, 2, 28)), False),
        (Selection(since=NOW, until=NOW), True),  # times of messages; the reader selects by them
    ],
)
def test_results_are_selected_by_property_and_day(selection: Selection, selected: bool) -> None:
    assert selection.matches(a_batch(date=DAY)) is selected


def test_a_name_belongs_to_a_selection() -> None:
    names = [
        Replay(selection, run, None).name
        for selection in (EVERYTHING, Selection(start=DAY), Selection(since=NOW), Selection(properties=("x",)))
        for run in (None, RUN)
    ]
    assert len(set(names)) == 8
    assert Replay(Selection(start=DAY), ReplayRun("replay-2", 2000), None).name == names[3]


@pytest.mark.parametrize(
    "message",
    [some_rows(a_batch(), ["a"]), PageOutcome(batch=a_batch(), state="dead", reason="permission", detail="", at=NOW)],
)
def test_a_run_changes_the_identity_of_a_result_and_nothing_else(message: Rows | PageOutcome) -> None:
    new = RUN.apply(message)
    assert run_of(new.batch) == RunKey("replay-1", 1000)
    assert new.batch.batch_id == batch_id(page_of(new.batch)) != message.batch.batch_id
    old = message.batch
    assert ReplayRun(old.run_id, old.generation).apply(new) == message


async def test_selected_results_are_written_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    other = some_rows(a_batch(property="sc-domain:other.com"), ["a", "b", "c"])
    outcome = PageOutcome(batch=a_batch(), state="dead", reason="permission", detail="", at=NOW)
    garbage = a_record(4)._replace(value=b"{")
    world = World(a_record(1), a_record(2, other), a_record(3, outcome), garbage)
    counts, _ = await replayed(world, monkeypatch, selection=Selection(properties=("sc-domain:example.com",)))
    assert counts == ReplayCounts(
        messages=4, selected=2, unreadable=1, pages=2, rows=2, rows_written=3, rows_deleted=2, days=1,
        rows_by_property={"sc-domain:example.com": 2},
    )  # fmt: skip
    assert world.offsets == [1, 3]
    assert world.restored == {RunKey("run-1", 5)}
    assert world.progress == [{0: 5}]


async def test_rows_are_counted_by_property(monkeypatch: pytest.MonkeyPatch) -> None:
    other = some_rows(a_batch(property="sc-domain:other.com"), ["a", "b", "c"])
    counts, _ = await replayed(World(a_record(1), a_record(2, other), a_record(3)), monkeypatch)
    assert counts.rows_by_property == {"sc-domain:example.com": 4, "sc-domain:other.com": 3}


async def test_progress_is_saved_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "BATCH_BYTES", 2 * len(a_record(1).value or b""))
    world = World(a_record(1), a_record(7, partition=1), a_record(2))
    _, shown = await replayed(world, monkeypatch)
    assert [[item.record.offset for item in batch] for batch in world.written] == [[1, 7], [2]]
    assert world.progress == [{0: 2, 1: 8}, {0: 3}]
    assert shown == 2


async def test_progress_passes_what_is_not_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(a_record(1))
    counts, _ = await replayed(world, monkeypatch, selection=Selection(properties=("x",)))
    assert (counts.messages, counts.selected) == (1, 0)
    assert world.written == []
    assert world.progress == [{0: 2}]


async def test_an_unstorable_result_is_counted_and_the_others_written(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(*map(a_record, range(1, 6)))
    world.unstorable = {3}
    counts, _ = await replayed(world, monkeypatch)
    assert counts.unstorable == 1
    assert sorted(world.offsets) == [1, 2, 4, 5]
    assert world.progress == [{0: 6}]


async def test_a_dry_run_counts_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(a_record(1), a_record(2))
    counts, shown = await replayed(world, monkeypatch, dry_run=True)
    rows = {"sc-domain:example.com": 4}
    assert counts == ReplayCounts(messages=2, selected=2, rows=4, rows_by_property=rows)
    assert shown == 1
    assert (world.written, world.restored, world.progress) == ([], set(), [])


async def test_results_of_a_replay_with_a_run_are_written_as_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(a_record(1))
    await replayed(world, monkeypatch, run=RUN)
    ((written,),) = world.written
    assert run_of(written.message.batch) == RunKey("replay-1", 1000)
    assert codec.decode_result(written.record.value) == written.message
    assert world.restored == {RunKey("replay-1", 1000)}
