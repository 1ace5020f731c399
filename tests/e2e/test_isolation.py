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
    """All calls of one credential hang within the body, and those of one of two properties of the other before it."""
    faults = (
        Fault(kind="stall_body", user="reader-1@example.com", seconds=110.0),
        Fault(kind="stall", site="https://www.shop-2.example/", seconds=110.0),
    )
    world = simulator_settings(
        Scenario(days=DAYS, properties=4, credentials=2, rows=10, latency_s=0.1, full_days=False), faults=faults
    )
    settings = {"GSC_MAX_CONCURRENCY": "4", "GSC_MAX_IN_FLIGHT": "4", "GSC_DRAIN_S": "0.5"}
    with running_pipeline(servers, dsn, topic_prefix, folder, world, **settings) as running:
        run = await running.request_sync(DAYS)

        def healthy_is_done() -> bool:
            healthy = [call for call in running.calls() if call["site"] == HEALTHY]
            return len(healthy) == PAGES_OF_A_PROPERTY and all(call["finished"] for call in healthy)

        await until(healthy_is_done, 100, "every page of the healthy property is fetched")
        await running.applied(run, PAGES_OF_A_PROPERTY)
        # More calls than can hang at the same time would mean that the first ones have ended: too late.
        hanging = [call["user"] for call in running.calls() if call["site"] != HEALTHY]
        assert hanging.count("reader-1@example.com") == 4
        assert 2 <= hanging.count("reader-2@example.com") <= 4
