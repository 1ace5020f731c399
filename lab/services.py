"""The three services as processes, started by their commands."""

import os
from collections.abc import Mapping
from pathlib import Path

from lab.processes import PYTHON, Command, Process

NAMES = ("producer", "fetcher", "sink")


def start_service(name: str, environment: Mapping[str, str], folder: Path, scratch: Path | None = None) -> Process:
    """Start one service with that environment, and what a process needs of ours; logs go to `NAME.log`."""
    whole = {**inherited(), **environment}
    return Process(Command(f"the {name}", [*PYTHON, "-m", name], folder / f"{name}.log", whole, scratch=scratch))


def inherited() -> dict[str, str]:
    """What a child needs of our own environment: where programs, certificates, time zones and proxies are."""
    wanted = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TMPDIR")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    return {name: os.environ[name] for name in (*wanted, *proxies, *map(str.lower, proxies)) if name in os.environ}  # noqa: TID251 - handed on, not read
