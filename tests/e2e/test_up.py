"""`gsc-stream up` and `down`: everything embedded, left running, and found again."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.run_folder import lock_holder
from lab.scenario import Scenario, start_simulator
from support.pipeline import COMMAND, a_day, is_ready, query, simulator_settings
from support.wait import until

DAYS = 2
PAGES = DAYS * 2 * 3


class Up:
    """A folder, and the commands in it."""

    def __init__(self, folder: Path, catalog: Path, root: str) -> None:
        self.folder = folder
        # Addresses of something else, as a shell has that exported them before; and settings that are handed on.
        stale = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "GSC_POSTGRES_DSN": "x", "GSC_HTTP_PORT": "1"}
        own = {"GSC_CATALOG": str(catalog), "GSC_HTTP_TOKEN": "secret", "GSC_LOG_LEVEL": "error"}
        # A proxy that is not there: nothing on this machine may be asked through it.
        self.environment = {**os.environ, **stale, **own, "GSC_API_ROOT": root, "HTTP_PROXY": "http://127.0.0.1:1"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=self.folder.parent,
        )

    def run_json(self, command: str) -> Any:
        done = self.run(command, "--folder", str(self.folder), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def embedded(open_folder: Path) -> Iterator[Up]:
    google = start_simulator(simulator_settings(Scenario(days=DAYS, rows=20, full_days=False)), open_folder / "google")
    up = Up(open_folder / "data", google.catalog, google.root)
    try:
        yield up
    finally:
        up.run("down", "--folder", str(up.folder))
        google.process.stop()


async def test_it_is_left_running_and_found_again(embedded: Up) -> None:
    first = embedded.run_json("up")
    assert os.getsid(first["pid"]) == first["pid"]  # no terminal of ours ends it
    assert all(is_ready(int(url.rpartition(":")[2])) for url in first["http"].values())
    embedded.environment |= first["environment"]

    body = {"all": True, "start": a_day(DAYS - 1).isoformat(), "end": a_day(0).isoformat()}
    syncs = f"{first['http']['producer']}/v1/syncs"
    assert httpx.post(syncs, json=body, trust_env=False).status_code == 401
    bearer = {"Authorization": "Bearer secret"}
    assert httpx.post(syncs, json=body, headers=bearer, trust_env=False).status_code == 202
    dsn = first["environment"]["GSC_POSTGRES_DSN"]

    async def all_applied() -> bool:
        return await query(dsn, "select state, count(*) from gsc.pages group by state") == [("applied", PAGES)]

    await until(all_applied, 60, "every page is applied")
    assert "info" not in (embedded.folder / "fetcher.log").read_text()

    again = embedded.run("up", "--folder", str(embedded.folder))
    assert again.returncode == 0
    assert "Already running" in again.stderr
    assert f"export GSC_POSTGRES_DSN={dsn}" in again.stdout
    watch_status(embedded)

    assert embedded.run_json("down") == {"folder": str(embedded.folder), "ended": first["pid"]}
    assert embedded.run_json("down")["ended"] is None
    second = embedded.run_json("up")
    assert {**second, "pid": 0} == {**first, "pid": 0}
    assert await all_applied()

    os.kill(second["pid"], signal.SIGKILL)  # what it had started is still ending
    third = embedded.run_json("up")
    assert {**third, "pid": 0} == {**first, "pid": 0}
    assert await all_applied()
    assert embedded.run_json("down")["ended"] == third["pid"]
    assert lock_holder(embedded.folder) is None


async def test_a_killed_service_is_named_and_started_again_alone(embedded: Up) -> None:
    started = embedded.run_json("up")
    before = {name: process_id(embedded, name) for name in ("fetcher", "sink")}
    os.kill(before["fetcher"], signal.SIGKILL)
    log = embedded.folder / "up.log"
    await until(
        lambda: "the fetcher was killed by SIGKILL, signal 9; the others go on" in log.read_text(), 20, "it is named"
    )
    again = embedded.run("up", "--folder", str(embedded.folder))
    assert again.returncode == 0, again.stderr
    assert is_ready(int(started["http"]["fetcher"].rpartition(":")[2]))
    assert process_id(embedded, "fetcher") != before["fetcher"]
    assert process_id(embedded, "sink") == before["sink"]


async def test_a_killed_server_ends_everything_with_its_name(embedded: Up) -> None:
    embedded.run_json("up")
    os.kill(process_id(embedded, "kafka/kafka"), signal.SIGKILL)
    await until(lambda: lock_holder(embedded.folder) is None, 90, "everything has ended")
    assert "Apache Kafka was killed by SIGKILL, signal 9" in (embedded.folder / "up.log").read_text()


def process_id(embedded: Up, name: str) -> int:
    return int((embedded.folder / f"{name}.pid").read_text())


def watch_status(embedded: Up) -> None:
    """Twice, and then Ctrl-C."""
    argv = [COMMAND, "status", "--watch", "--json"]
    with subprocess.Popen(
        # A shell starts background jobs with SIGINT ignored, and children would inherit that.
        ["env", "--default-signal=INT", *argv],
        env=embedded.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        watching.wait(20)
    assert [json.loads(line)["pages"] for line in lines] == [{"applied": PAGES}] * 2


def test_what_cannot_run_is_told_before_anything_starts(embedded: Up) -> None:
    catalog = Path(embedded.environment["GSC_CATALOG"])
    (catalog.parent / "reader-1.json").unlink()
    embedded.environment |= {"GSC_SITE_QPM": "many", "GSC_TOKEN_HOSTS": "http://127.0.0.1"}
    done = embedded.run("up", "--folder", str(embedded.folder), "--api-root", "garbage")
    assert (done.returncode, done.stdout) == (2, "")
    site_qpm, api_root, file = done.stderr.splitlines()
    assert (site_qpm.partition(":")[0], api_root.partition(":")[0]) == ("GSC_SITE_QPM", "GSC_API_ROOT")
    assert file.startswith(f"{catalog}:4: credentials.reader-1.file: no such file")
    assert not embedded.folder.exists()


def test_a_folder_that_is_a_file(embedded: Up) -> None:
    embedded.folder.touch()
    done = embedded.run("up", "--folder", str(embedded.folder))
    assert (done.returncode, done.stderr) == (2, f"{embedded.folder}: not a folder\n")
    assert "nothing is running in" in embedded.run("down", "--folder", str(embedded.folder)).stdout


def test_what_fails_at_the_start_is_told_where_it_was_asked_for(embedded: Up) -> None:
    done = embedded.run("up", "--folder", str(embedded.folder), "--kafka", "127.0.0.1:1")
    assert done.returncode == 2
    assert "--kafka 127.0.0.1:1: no Kafka answers there" in done.stderr
    assert lock_holder(embedded.folder) is None
