"""A PostgreSQL that goes silent behind a proxy while the pipeline works."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lab.scenario import Scenario
from lab.servers import Servers
from lab.tcp_proxy import running_proxy
from support.pipeline import read_log, running_pipeline, simulator_settings
from support.wait import until

SMALL = Scenario(days=10, rows=20, latency_s=0.2, full_days=False)
PAGES = 10 * 2 * 3


def test_services_reconnect_lose_nothing_and_end_on_sigterm(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    with running_proxy(int(conninfo_to_dict(dsn).get("port") or 5432)) as proxy:
        proxied = make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
        settings = {"GSC_POSTGRES_TIMEOUT_S": "2", "GSC_MAX_QUEUE_SIZE": "10"}
        world = simulator_settings(SMALL)
        with running_pipeline(servers, proxied, topic_prefix, folder, world, **settings) as running:

            def noticed(service: str, event: str) -> bool:
                return any("no answer within 3 s" in line["error"] for line in read_log(folder, service, event))

            async def scene() -> None:
                run = await running.request_sync(SMALL.days)
                await running.applied(run, 5)
                proxy.freeze_open()
                await until(lambda: noticed("sink", "write_failed"), 60, "the sink notices the silence")
                await until(lambda: noticed("producer", "publishing_interrupted"), 60, "the producer notices it")
                assert await running.finished(run) == {"applied": PAGES}
                direct = replace(running, setup=replace(running.setup, servers=replace(servers, dsn=dsn)))
                assert await direct.differences(SMALL.days) == []

            asyncio.run(scene())
            proxy.freeze_all()
            for name in ("sink", "producer"):
                running.services.processes[name].signal(signal.SIGTERM)
            # It would be 137 if they had to be killed.
            assert {running.services.processes[name].wait() for name in ("sink", "producer")} <= {0, 1}
            proxy.resume()
