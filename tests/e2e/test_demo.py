"""`gsc-stream demo` with its own Kafka and PostgreSQL."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.pipeline import COMMAND


def run_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # The demo must ignore settings of another pipeline, and must not use a proxy for its own processes.
    unrelated = {"GSC_SITE_QPM": "1", "GSC_TOPIC_PREFIX": "/", "HTTP_PROXY": "http://127.0.0.1:1"}
    return subprocess.run(
        [COMMAND, "demo", "--json", "--rows", "50", *arguments],
        env={**os.environ, **unrelated, **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def demo_summary(*arguments: str) -> Any:
    result = run_demo(*arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_demo_needs_no_settings_and_its_table_equals_the_source() -> None:
    summary = demo_summary("--days", "3")
    assert summary["equal_to_source"] is True
    assert summary["calls"] == 3 * 2 * 3 + 6


def test_a_second_demo_in_a_kept_folder_has_the_same_result(open_folder: Path) -> None:
    kept = open_folder / "kept"
    first = demo_summary("--days", "1", "--keep", str(kept))
    assert {"fetcher.log", "kafka", "postgres", "catalog.yaml"} <= {path.name for path in kept.iterdir()}
    second = demo_summary("--days", "1", "--keep", str(kept))
    assert second["equal_to_source"] is True
    assert (second["rows"], second["calls"]) == (first["rows"], first["calls"])


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("--keep", "/dev/null"), {}, "/dev/null: not a folder"),
        (("--keep", "/proc/nope"), {}, "/proc/nope: No such file or directory"),
        ((), {"XDG_CACHE_HOME": "/dev/null"}, "Kafka's jars cannot be stored in /dev/null/gsc-stream/kafka-"),
    ],
)
def test_a_folder_that_cannot_be_used_is_reported_in_one_line(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    result = run_demo(*arguments, **environment)
    assert (result.returncode, result.stdout) == (2, "")
    assert json.loads(result.stderr)["detail"].startswith(message)
    assert len(result.stderr.splitlines()) == 1


def test_a_demo_that_stays_prints_its_addresses_and_runs_until_it_is_interrupted() -> None:
    # A shell starts background jobs with SIGINT ignored, and children would inherit that.
    argv = ["env", "--default-signal=INT", COMMAND, "demo", "--days", "1", "--rows", "10", "--stay"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        lines: list[str] = []
        while not lines or "export GSC_TOKEN_HOSTS" not in lines[-1]:
            lines.append(demo.stderr.readline())
            assert lines[-1], lines
        exported = dict(line.split()[1].split("=", 1) for line in lines if "export" in line)
        environment = {**os.environ, **{name: value.strip("'") for name, value in exported.items()}}
        argv = [COMMAND, "runs", "--json"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert [run["state"] for run in json.loads(done.stdout)["runs"]] == ["finished"]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(90) == 0
    assert any("the table is equal to the source, row by row" in line for line in lines)
