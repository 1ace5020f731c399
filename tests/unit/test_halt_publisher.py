"""Halts that a fetcher publishes."""

import pytest

from fetcher.halt_publisher import HaltPublisher
from fetcher.outcome import HaltOrder
from fetcher.schedule import Schedule
from pipeline.clock import now
from pipeline.errors import Retryable
from support.examples import a_batch
from support.fetcher import World

ORDER = HaltOrder("property", "permission", "no permission")


async def test_a_halt_whose_publication_failed_is_published_later() -> None:
    """It is in force in this process meanwhile."""
    world = World()
    publisher = HaltPublisher(world.ports(), Schedule(), lambda: None)
    world.kafka_error = Retryable("away")
    with pytest.raises(Retryable):
        await publisher.halt(a_batch(), ORDER)
    [halt] = world.halts.active(now())
    world.kafka_error = None
    for _ in range(2):
        await publisher.halt(a_batch(), ORDER)
    assert [control.scope for control in world.controls()] == [halt.scope]
