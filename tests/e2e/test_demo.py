"""`gsc-stream demo` with nothing given: Kafka and PostgreSQL are its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.pipeline import COMMAND


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Settings of a pipeline of the user's are not the demo's, and what it starts is not asked through a proxy.
    own = {"GSC_SITE_QPM": "1", "GSC_TOPIC_PREFIX": "/", "HTTP_PROXY": "http://127.0.0.1:1", **environment}
    return subprocess.run(
        [COMMAND, "demo", "--json", "--rows", "50", *arguments],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def summary(*arguments: str) -> Any:
    done = demo(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_demo_needs_nothing() -> None:
    found = summary("--days", "3")
    assert found["equal_to_source"] is True
    assert found["calls"] == 3 * 2 * 3 + 6


def test_a_kept_folder_is_taken_up_again(open_folder: Path) -> None:
    kept = open_folder / "kept"
    first = summary("--days", "1", "--keep", str(kept))
    assert {"fetcher.log", "kafka", "postgres", "catalog.yaml"} <= {path.name for path in kept.iterdir()}
    again = summary("--days", "1", "--keep", str(kept))
    assert again["equal_to_source"] is True
    assert (again["rows"], again["calls"]) == (first["rows"], first["calls"])


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (("--keep", "/dev/null"), {}, "/dev/null: not a folder"),
        (("--keep", "/proc/nope"), {}, "/proc/nope: No such file or directory"),
        ((), {"XDG_CACHE_HOME": "/dev/null"}, "Kafka's jars cannot be kept in /dev/null/gsc-stream/kafka-"),
    ],
)
def test_a_folder_that_cannot_be_is_a_line(arguments: list[str], environment: dict[str, str], told: str) -> None:
    done = demo(*arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1
