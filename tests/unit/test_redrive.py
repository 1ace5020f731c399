"""Redrive: what is done with each dead letter, with the ledger and Kafka in memory."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from maintenance import redrive as redrive_module
from maintenance.redrive import DecodedDeadLetter, RedriveCounts, count_actions, decode_dead_letter, redrive
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Control
from pipeline.contracts.records import Position, Record
from pipeline.dead_letters import StoredDeadLetter
from pipeline.kafka import Headers
from pipeline.ledger.pages import State
from support.examples import NOW, a_batch, some_rows

BATCH = a_batch()
SOURCE = ("gsc.results", 3, 14)


class World:
    """The ledger's pages by state, the topics, and the pauses."""

    def __init__(self, state: State | None) -> None:
        self.pages: dict[str, State] = {} if state is None else {BATCH.batch_id: state}
        self.forwarded: list[tuple[str, bytes | None, bytes | None, Headers]] = []
        self.pauses: list[float] = []

    async def states(self, _: Any, batch_ids: Sequence[str]) -> dict[str, State]:
        return {batch_id: self.pages[batch_id] for batch_id in batch_ids if batch_id in self.pages}

    async def redrive(self, _: Any, batch_id: str) -> bool:
        dead = self.pages[batch_id] == "dead"
        self.pages[batch_id] = "pending" if dead else self.pages[batch_id]
        return dead

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        self.forwarded.append((topic, key, value, headers))
        return Position(0, 0)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def stored(value: bytes | None, **changes: Any) -> StoredDeadLetter:
    record = Record("gsc.dead-letters", 0, 0, b"key", value, 0)
    fields = {"attempts": 0, "source": SOURCE, "first_seen": NOW, **changes}
    return StoredDeadLetter(record, service="sink", reason="unstorable", error="", **fields)


A_BATCH = decode_dead_letter(stored(codec.encode(BATCH)))
A_RESULT = decode_dead_letter(stored(codec.encode(some_rows(BATCH, ["a"]))))
UNREADABLE = decode_dead_letter(stored(b"{"))


async def redriven(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *dead_letters: DecodedDeadLetter,
    rate: float = 10,
    halts: Halts | None = None,
) -> RedriveCounts:
    monkeypatch.setattr(redrive_module, "pages", world)
    monkeypatch.setattr(asyncio, "sleep", world.pause)
    expected = count_actions(dead_letters, world.pages, halts or Halts())
    counts = await redrive(dead_letters, None, world, halts or Halts(), rate)  # type: ignore[arg-type]
    assert counts == expected, "a dry run counts by another rule"
    return counts


def test_a_dead_letter_is_decoded_as_far_as_it_can_be() -> None:
    assert (A_BATCH.batch, A_BATCH.is_batch) == (BATCH, True)
    assert (A_RESULT.batch, A_RESULT.is_batch) == (BATCH, False)
    assert (UNREADABLE.batch, UNREADABLE.is_batch) == (None, False)
    assert decode_dead_letter(stored(None)).batch is None


async def test_a_dead_page_becomes_pending_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("dead")
    assert await redriven(world, monkeypatch, A_BATCH) == RedriveCounts(pending=1)
    assert world.pages == {BATCH.batch_id: "pending"}
    assert world.forwarded == []


async def test_pages_that_wait_for_a_halt_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    halts = Halts()
    halts.apply(Control(scope=f"property:{BATCH.property}", state="halted", reason="r", actor="a", at=NOW))
    assert await redriven(World("dead"), monkeypatch, A_BATCH, halts=halts) == RedriveCounts(pending=1, halted=1)


@pytest.mark.parametrize("state", ["pending", "published", "applied", "cancelled"])
async def test_a_batch_whose_page_is_not_dead_is_skipped(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(state)
    assert await redriven(world, monkeypatch, A_BATCH) == RedriveCounts(skipped=1)
    assert world.pages == {BATCH.batch_id: state}
    assert world.forwarded == []


@pytest.mark.parametrize(
    ("dead_letter", "state"),
    [(A_BATCH, None), (A_RESULT, None), (A_RESULT, "dead"), (A_RESULT, "published"), (UNREADABLE, None)],
)
async def test_other_messages_are_published_to_their_topic_as_they_were_read(
    dead_letter: DecodedDeadLetter, state: State | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(state)
    assert await redriven(world, monkeypatch, dead_letter) == RedriveCounts(forwarded=1)
    assert world.forwarded == [("gsc.results", b"key", dead_letter.stored.record.value, ())]


@pytest.mark.parametrize("state", ["applied", "cancelled"])
async def test_a_result_of_a_finished_page_is_skipped(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(state)
    assert await redriven(world, monkeypatch, A_RESULT) == RedriveCounts(skipped=1)
    assert world.forwarded == []


@pytest.mark.parametrize("changes", [{"source": None}, {"cut": True}])
async def test_a_message_without_its_source_or_its_full_value_is_skipped(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(None)
    assert await redriven(world, monkeypatch, decode_dead_letter(stored(b"{", **changes))) == RedriveCounts(skipped=1)
    assert world.forwarded == []


async def test_the_rate_limits_dead_letters_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("dead")
    counts = await redriven(world, monkeypatch, A_BATCH, A_BATCH, UNREADABLE, rate=4)
    assert counts == RedriveCounts(pending=1, skipped=1, forwarded=1)
    assert world.pauses == [0.25, 0.25, 0.25]
