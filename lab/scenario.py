"""A small scenario for the simulator: a few properties and credentials, and the catalog and files that name them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
from ruamel.yaml import YAML

from lab.processes import PYTHON, Command, Process, inherited_environment
from lab.search_console.settings import Quotas, SimulatorSettings, Site, User
from pipeline.clock import now
from pipeline.pacific import pacific_date

READY_S = 20.0
FINAL_AFTER_DAYS = 4
Kind = Literal["service_account", "authorized_user", "external_account"]
_KINDS: Sequence[Kind] = (
    "service_account",
    "authorized_user",
    "external_account",
)
REPORTS: Sequence[Mapping[str, object]] = [
    {"name": "by_date", "dimensions": ["date"]},
    {"name": "by_country", "dimensions": ["date", "country"]},
    {"name": "page_query", "dimensions": ["date", "query", "page", "country", "device"]},
]


def last_day() -> date:
    """Return the newest day whose data in the simulator is final."""
    return pacific_date(now()) - timedelta(days=FINAL_AFTER_DAYS)


def last_days(count: int, newest: date | None = None) -> list[date]:
    """Return days whose data is final, newest first; `newest`: the first of them, by default the newest of all."""
    newest = newest or last_day()
    return [newest - timedelta(days=number) for number in range(count)]


@dataclass(frozen=True)
class Scenario:
    """How much data the simulator has, and how slowly it answers."""

    days: int = 150
    properties: int = 2
    rows: int = 1500
    """Rows of a day of the widest report."""
    seed: int = 1
    latency_s: float = 0.2
    """Seconds of a call."""
    credentials: int | None = None
    """How many credentials share the properties; None: one for each."""
    kinds: Sequence[Kind] = _KINDS
    """The kinds of the credentials, in turns."""
    ignored_fields: tuple[str, ...] = ()
    """Unknown fields of a query that are not refused."""
    odd_queries: bool = True
    """Whether some queries have NUL characters, lone surrogates and the like."""
    full_days: bool = True
    """Whether each property has a day of exactly one full page, and a day at Google's cap."""

    def simulator(self, last_day: date) -> SimulatorSettings:
        """Return the simulator's settings."""
        users = tuple(
            User(id=f"reader-{n}@example.com", kind=kind)
            for n, kind in zip(range(1, (self.credentials or self.properties) + 1), cycle(self.kinds), strict=False)
        )
        sites = tuple(
            Site(
                url=f"sc-domain:shop-{n}.example" if n % 2 else f"https://www.shop-{n}.example/",
                users=(users[(n - 1) % len(users)].id,),
                rows=self.rows,
                odd_queries=self.odd_queries,
                full_days=(last_day - timedelta(days=1),) if self.full_days else (),
                cap_days=(last_day - timedelta(days=2),) if self.full_days else (),
            )
            for n in range(1, self.properties + 1)
        )
        return SimulatorSettings(
            sites=sites,
            users=users,
            seed=self.seed,
            latency_s=self.latency_s,
            quotas=Quotas(),
            token_lifetime_s=600,
            ignored_fields=self.ignored_fields,
        )


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator process that accepts requests."""

    root: str
    """Base URL."""
    process: Process
    catalog: Path
    """The catalog of its properties, users and the reports."""


def start_simulator(
    settings: SimulatorSettings,
    folder: Path,
    reports: Sequence[Mapping[str, object]] = REPORTS,
    listening: Sequence[str] = (),
) -> RunningSimulator:
    """Start the simulator as a process, and write the catalog and the credential files for it.

    The folder also keeps the simulator's keys: a simulator that is started there again accepts the same credentials.
    `listening`: the simulator's options `--host`, `--port` and `--root`; by default it listens on a free port of the
    loopback interface. Raises LabError when it does not start, and httpx.HTTPError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "simulator.json", folder / "simulator.log"
    log.unlink(missing_ok=True)
    config.write_bytes(msgspec.json.encode(settings))
    options = ["--config", str(config), "--keys", str(folder / "simulator-keys"), *listening]
    argv = [*PYTHON, "-m", "lab.search_console", *options]
    process = Process(Command("the Search Console simulator", argv, log, inherited_environment()))
    process.await_ready(lambda: _read_roots(log) != [], READY_S)
    [root] = _read_roots(log)
    return RunningSimulator(root, process, _write_catalog(settings, root, folder, reports))


def _read_roots(log: Path) -> list[str]:
    """Return the base URL that the simulator prints when it is ready; its log may have other lines before."""
    lines = log.read_text(errors="replace").splitlines(keepends=True)
    return [json.loads(line)["root"] for line in lines if line.startswith('{"root"') and line.endswith("\n")]


def _write_catalog(
    settings: SimulatorSettings, root: str, folder: Path, reports: Sequence[Mapping[str, object]]
) -> Path:
    credentials = {
        user.id: _write_credential(user, f"reader-{number}", root, folder)
        for number, user in enumerate(settings.users, start=1)
    }
    catalog = {
        "credentials": [*credentials.values()],
        "properties": [{"url": site.url, "credential": credentials[site.users[0]]["id"]} for site in settings.sites],
        "reports": [*map(dict, reports)],
    }
    path = folder / "catalog.yaml"
    text = StringIO()
    YAML().dump(catalog, text)
    _write(path, text.getvalue())
    return path


def _write_credential(user: User, name: str, root: str, folder: Path) -> dict[str, Any]:
    """Write the user's credential file; return its entry in the catalog."""
    info = httpx.get(f"{root}/_sim/credentials/{user.id}").raise_for_status().json()
    if source := info.get("credential_source"):
        token = folder / f"{name}.token"
        _write(token, httpx.get(f"{root}/_sim/subject-token/{user.id}").raise_for_status().text)
        source["file"] = str(token)
    _write(folder / f"{name}.json", json.dumps(info))
    return {"id": name, "type": user.kind, "file": f"{name}.json"}


def _write(path: Path, text: str) -> None:
    """Replace the file atomically: running services may read it at any moment."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
