"""Credentials that are throttled or halted, with more than a thousand pages each, delay no daily page of another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from lab.scenario import Scenario
from lab.search_console.settings import Fault
from lab.servers import Servers
from support.pipeline import LAST_DAY, Running, a_day, run_json, running_pipeline, simulator_settings
from support.wait import until

SCENARIO = Scenario(days=400, properties=3, rows=5, latency_s=0.05, full_days=False)
THROTTLED, HALTED, HEALTHY = "sc-domain:shop-1.example", "https://www.shop-2.example/", "sc-domain:shop-3.example"
BACKLOG = 400 * 3
QUEUE_SIZE = 60


def sync(running: Running, site: str, days: int, *options: str) -> dict[str, Any]:
    start = str(a_day(days - 1))
    result: dict[str, Any] = run_json(
        running, "sync", "--property", site, "--start", start, "--end", str(LAST_DAY), *options
    )
    return result


def by_credential(port: int, metric: str) -> dict[str, float]:
    """The values of a metric of the producer."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text

    def values() -> Iterator[tuple[str, float]]:
        for line in text.splitlines():
            if line.startswith(f"{metric}{{"):
                yield line.split('"')[1], float(line.rpartition(" ")[2])

    return dict(values())


async def test_throttled_and_halted_credentials_delay_no_page_of_another(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    refuse_all = Fault(kind="userRateLimitExceeded", user="reader-1@example.com")
    world = simulator_settings(SCENARIO, faults=(refuse_all,))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_QUEUE_SIZE=str(QUEUE_SIZE)) as running:
        port = await running.port("producer")
        throttled = sync(running, THROTTLED, 400)["run_id"]
        run_json(running, "halt", "credential:reader-2", "--reason", "new key")
        halted = sync(running, HALTED, 400)["run_id"]

        async def share_is_full() -> bool:
            return bool(await running.pages(throttled)) and by_credential(port, "gsc_publishing_paused") == {
                "reader-1": 1
            }

        await until(share_is_full, 60, "the throttled credential has filled its share")

        daily = sync(running, HEALTHY, 2, "--daily", "--wait")
        assert daily["pages"] == {"applied": 6}
        backlog = sync(running, HEALTHY, 400)["run_id"]
        await running.applied(backlog, 50)
        daily = sync(running, HEALTHY, 3, "--daily", "--wait")
        assert daily["pages"] == {"applied": 9}
        assert (await running.pages(backlog))["pending"] > BACKLOG // 4  # the daily pages did not wait for them

        pages = await running.pages(throttled)
        assert pages["published"] <= QUEUE_SIZE
        assert pages["pending"] >= BACKLOG - QUEUE_SIZE
        assert await running.pages(halted) == {"pending": BACKLOG}

        status = run_json(running, "status")
        rows = {row["credential"]: row for row in status["credentials"]}
        assert rows["reader-1"]["reason"].startswith("its share of the queue is full")
        assert (rows["reader-2"]["pending"], rows["reader-2"]["reason"]) == (
            BACKLOG,
            "credential:reader-2 is halted: new key",
        )
        assert all(row["reason"] != "nothing to do" for row in status["partitions"])

        def counted() -> bool:
            return by_credential(port, "gsc_pending_pages").get("reader-2") == BACKLOG

        await until(counted, 60, "the pages of the halted credential are counted")
        assert 0 < by_credential(port, "gsc_published_pages")["reader-1"] <= QUEUE_SIZE
        assert by_credential(port, "gsc_oldest_pending_seconds")["reader-2"] > 0
