"""Log lines: their form, their fields, and secrets in them."""

import json
import subprocess
import sys
from typing import Any

import pytest

from pipeline.contracts.records import Record
from pipeline.log import batch_fields, day_fields, record_fields
from support.examples import a_batch

PROGRAM = """
import logging, sys
from pipeline.log import configure_logging, logger
from pipeline.settings import Settings
configure_logging(Settings(log_format=sys.argv[1], log_level="info"), "sink")
try:
    variable = "hid" + "den"
    raise ValueError("broken")
except ValueError:
    logger("a").exception("failed", access_token="hidden", rows=3)
logging.getLogger("b").warning("from %s", "a library")
logging.getLogger("httpx").info("a request")
logger("a").debug("detail")
"""


def log_of(log_format: str) -> str:
    argv = [sys.executable, "-c", PROGRAM, log_format]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_lines_are_json_with_the_service_and_the_level(log_format: str) -> None:
    ours, library = [json.loads(line) for line in log_of(log_format).splitlines()]
    common: dict[str, Any] = {"service": "sink", "level": "error", "logger": "a", "event": "failed", "rows": 3}
    assert common.items() <= ours.items()
    assert ours["exception"][0]["exc_value"] == "broken"
    assert (library["event"], library["level"], library["service"]) == ("from a library", "warning", "sink")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_lines_have_neither_secrets_nor_local_variables(log_format: str) -> None:
    text = log_of(log_format)
    assert "access_token" in text
    assert "hidden" not in text


def test_fields_of_a_line_about_a_page_a_day_or_a_message() -> None:
    day = {
        "run_id": "run-1",
        "credential": "acme",
        "property": "sc-domain:example.com",
        "report": "page_query",
        "search_type": "web",
        "date": "2026-03-01",
    }
    assert day_fields(a_batch()) == day
    assert batch_fields(a_batch(batch_id="b")) == {**day, "batch_id": "b", "start_row": 0}
    record = Record("gsc.batches", 3, 7, b"key", b"value", 0)
    assert record_fields(record) == {"topic": "gsc.batches", "partition": 3, "offset": 7}
