"""Services that are killed, stopped or replaced, or that cannot go on: no row is lost, and no call is made in vain."""

import asyncio
import signal
from pathlib import Path

import pytest

from lab.scenario import Scenario
from lab.servers import Servers
from pipeline.postgres import connection
from support.pipeline import (
    read_log,
    repeated,
    running_pipeline,
    simulator_settings,
)
from support.wait import until

SMALL = Scenario(days=20, rows=300, latency_s=0.05)

PAGES = 20 * 2 * 3 + 6  # first pages, and the next ones of full days and days at the cap


@pytest.mark.parametrize("victim", ["producer", "fetcher", "sink"])
def test_a_killed_service_loses_and_doubles_nothing(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path, victim: str
) -> None:
    world = simulator_settings(SMALL)
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_QUEUE_SIZE="40") as running:

        async def scene() -> None:
            run = await running.request_sync(SMALL.days)
            await running.applied(run, 20)
            running.services.processes[victim].kill()
            running.services.start(victim)
            assert await running.finished(run) == {"applied": PAGES}
            assert await running.differences(SMALL.days) == []

        asyncio.run(scene())
        # At most what was in flight: 32 calls, and 10 pages on their way to the broker.
        assert repeated(running) <= (42 if victim == "fetcher" else 0)


def test_sigterm_is_a_clean_stop(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> None:
    world = simulator_settings(Scenario(days=20, rows=50, latency_s=0.2, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:

        async def scene() -> None:
            run = await running.request_sync(20)
            await running.applied(run, 10)
            for name in ("fetcher", "sink", "producer"):
                running.services.processes[name].signal(signal.SIGTERM)
                assert running.services.processes[name].wait() == 0, running.services.processes[name].tail()
                running.services.start(name)
            assert await running.finished(run) == {"applied": 120}

        asyncio.run(scene())
        assert repeated(running) == 0


NO_RUNS = """
create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no runs today'; end $$;
create trigger refuse before insert on gsc.runs for each row execute function refuse()
"""


@pytest.mark.parametrize(
    ("broken", "fixed", "logged"),
    [
        ("alter table gsc.series rename to elsewhere", "alter table gsc.elsewhere rename to series", "gsc.series"),
        (NO_RUNS, "drop trigger refuse on gsc.runs", "no runs today"),
    ],
    ids=["publishing", "planning"],
)
def test_a_producer_that_cannot_go_on_logs_the_cause_and_loses_no_request(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path, *, broken: str, fixed: str, logged: str
) -> None:
    world = simulator_settings(Scenario(days=3, rows=20, latency_s=0.0, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:

        async def scene() -> None:
            async with connection(dsn, application="test") as conn:
                await conn.execute(broken.encode())
                run = await running.request_sync(3)
                producer = running.services.processes["producer"]
                await until(lambda: not producer.running, 60, "the producer has ended")
                assert producer.wait() == 1
                assert logged in read_log(folder, "producer", "failed")[-1]["error"]
                await conn.execute(fixed.encode())
            running.services.start("producer")
            assert await running.finished(run) == {"applied": 18}

        asyncio.run(scene())


def test_a_second_producer_takes_over(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> None:
    world = simulator_settings(Scenario(days=20, rows=20, latency_s=0.1, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_QUEUE_SIZE="20") as running:

        async def scene() -> None:
            run = await running.request_sync(20)
            await running.applied(run, 10)
            first = running.services.processes.pop("producer")
            running.services.start("producer")
            first.kill()
            assert await running.finished(run) == {"applied": 120}

        asyncio.run(scene())
        assert repeated(running) == 0
