"""The intake of sync requests. The ledger and Kafka are in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest

from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Position, Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Fatal, Invalid, PipelineError, Retryable
from pipeline.kafka import Headers
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection
from producer import intake as intake_module
from producer.intake import Intake, Ports
from support.wait import until

CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=(Property(url="sc-domain:example.com", credential="acme"),),
)


class World:
    """Kafka and PostgreSQL."""

    def __init__(self) -> None:
        self.dead: list[dict[str, bytes]] = []
        self.accepted: list[str] = []
        self.errors: list[PipelineError] = []

    async def forward(self, _: str, __: bytes | None, ___: bytes | None, headers: Headers) -> Position:
        self.dead.append(dict(headers))
        return Position(0, 0)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        if self.errors:
            raise self.errors.pop(0)
        yield cast("Connection", self)

    async def accept(self, _: Connection, request: SyncRequest, *__: object) -> bool:
        self.accepted.append(request.request_id)
        return True


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(intake_module, "accept", world.accept)
    monkeypatch.setattr(intake_module, "RETRY_S", 0.001)
    return world


def an_intake(world: World, limit: int = 100) -> Intake:
    ports = Ports("gsc", world, world.connect)
    return Intake(CATALOG, ports, DeadLetterLimit(limit, 1.0))


def a_record(value: bytes | None = None, **changes: object) -> Record:
    today = pacific_date(now())
    request = SyncRequest(request_id="r", all_properties=True, start=today, end=today, requested_at=now())
    value = value or codec.encode(msgspec.structs.replace(request, **changes))
    return Record("gsc.sync-requests", 0, 7, b"r", value, 0)


async def test_a_valid_request_is_accepted(world: World) -> None:
    await an_intake(world).process(a_record())
    assert (world.accepted, world.dead) == (["r"], [])


async def test_an_invalid_request_is_dead_lettered_with_every_problem(world: World) -> None:
    await an_intake(world).process(a_record(all_properties=False, properties=("nope",), reports=("none",)))
    [headers] = world.dead
    assert headers["reason"] == b"invalid_request"
    assert b"unknown property" in headers["error"]
    assert b"unknown report" in headers["error"]
    assert world.accepted == []


async def test_a_message_that_is_not_a_request_is_dead_lettered(world: World) -> None:
    await an_intake(world).process(a_record(b"{}"))
    assert len(world.dead) == 1


async def test_a_request_waits_while_postgresql_is_away(world: World) -> None:
    world.errors = [Retryable("away"), Retryable("away")]
    await an_intake(world).process(a_record())
    assert world.accepted == ["r"]


async def test_a_request_id_of_another_request_is_dead_lettered(world: World) -> None:
    world.errors = [Invalid("another request has used the id", field="request_id")]
    await an_intake(world).process(a_record())
    assert len(world.dead) == 1


@pytest.mark.parametrize("error", [Fatal("permission denied"), ZeroDivisionError()])
async def test_any_other_error_stops_the_intake_and_never_returns(world: World, error: Exception) -> None:
    world.errors = [error]  # type: ignore[list-item]
    intake = an_intake(world)
    task = asyncio.create_task(intake.process(a_record()))
    await until(lambda: intake.failure is not None, 60, "the failure is known")
    assert intake.failure is error
    assert not task.done()
    task.cancel()


async def test_too_many_messages_that_cannot_be_decoded_stop_the_intake(world: World) -> None:
    intake = an_intake(world, limit=2)
    await intake.process(a_record(b"{}"))
    task = asyncio.create_task(intake.process(a_record(b"{}")))
    await until(lambda: intake.failure is not None, 60, "the limit is reached")
    assert isinstance(intake.failure, Fatal)
    task.cancel()


async def test_however_many_mistakes_of_one_tenant_stop_no_request_of_another(world: World) -> None:
    intake = an_intake(world, limit=2)
    for _ in range(5):
        await intake.process(a_record(all_properties=False, properties=("nope",)))
    await intake.process(a_record())
    assert (len(world.dead), world.accepted, intake.failure) == (5, ["r"], None)
