"""One tenant in trouble, across processes: the others go on."""

from pathlib import Path

from lab.scenario import Scenario
from lab.search_console.settings import Fault
from lab.servers import Servers
from support.pipeline import running_pipeline, simulator_settings
from support.wait import until

DAYS = 15
PAGES_OF_A_PROPERTY = DAYS * 3
HEALTHY = "https://www.shop-4.example/"


async def test_calls_that_hang_stop_no_other_credential_and_no_other_property(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    """All calls of one credential hang, and those of one of the two properties of the other."""
    faults = (
        Fault(kind="stall", user="reader-1@example.com", seconds=110.0),
        Fault(kind="stall", site="https://www.shop-2.example/", seconds=110.0),
    )
    world = simulator_settings(
        Scenario(days=DAYS, properties=4, credentials=2, rows=10, latency_s=0.1, full_days=False), faults=faults
    )
    settings = {"GSC_MAX_CONCURRENCY": "4", "GSC_DRAIN_S": "0.5"}
    with running_pipeline(servers, dsn, topic_prefix, folder, world, **settings) as running:
        run = await running.request_sync(DAYS)

        def healthy_is_done() -> bool:
            done = [call for call in running.calls() if call["finished"] is not None]
            assert all(call["site"] == HEALTHY for call in done), "the calls that hang have ended: too late"
            return len(done) == PAGES_OF_A_PROPERTY

        await until(healthy_is_done, 100, "every page of the healthy property is fetched")
        await running.applied(run, PAGES_OF_A_PROPERTY)
        hanging = [call["user"] for call in running.calls() if call["finished"] is None]
        assert hanging.count("reader-1@example.com") == 4
        assert 2 <= hanging.count("reader-2@example.com") <= 4
