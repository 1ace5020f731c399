"""The three services as processes, started by their commands."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.processes import Command, Process

NAMES = ("producer", "fetcher", "sink")


def start_service(name: str, environment: Mapping[str, str], folder: Path) -> Process:
    """Start one service with that environment, and what a process needs of ours; logs go to `NAME.log`."""
    whole = {**inherited(), **environment}
    return Process(Command(f"the {name}", [sys.executable, "-m", name], folder / f"{name}.log", whole))


def inherited() -> dict[str, str]:
    """What a child needs of our own environment: where programs, certificates and time zones are."""
    wanted = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TMPDIR")
    return {name: os.environ[name] for name in wanted if name in os.environ}  # noqa: TID251 - handed on, not read
