"""A small company in the simulated world: two properties, two credentials, their catalog and credential files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import cycle
from pathlib import Path
from typing import Literal

import httpx
import msgspec
import yaml

from lab.processes import PYTHON, Command, Process
from lab.search_console.settings import Quotas, SimulatorSettings, Site, User
from lab.services import inherited

READY_S = 20.0
_KINDS: Sequence[Literal["service_account", "authorized_user", "external_account"]] = (
    "service_account",
    "authorized_user",
    "external_account",
)
REPORTS: Sequence[Mapping[str, object]] = [
    {"name": "by_date", "dimensions": ["date"]},
    {"name": "by_country", "dimensions": ["date", "country"]},
    {"name": "page_query", "dimensions": ["date", "query", "page", "country", "device"]},
]


@dataclass(frozen=True)
class Scenario:
    """How much there is to fetch, and how slow the API is."""

    days: int = 150
    properties: int = 2
    rows: int = 1500
    seed: int = 1
    latency_s: float = 0.2
    credentials: int | None = None
    """How many readers share the properties; None: one for each."""
    full_days: bool = True
    """Whether there are days of exactly one full page, and days at Google's cap."""

    def simulator(self, last_day: date) -> SimulatorSettings:
        """The world of the simulator; every property is read by a user of its own, of all kinds in turn."""
        users = tuple(
            User(id=f"reader-{n}@example.com", kind=kind)
            for n, kind in zip(range(1, (self.credentials or self.properties) + 1), cycle(_KINDS), strict=False)
        )
        sites = tuple(
            Site(
                url=f"sc-domain:shop-{n}.example" if n % 2 else f"https://www.shop-{n}.example/",
                users=(users[(n - 1) % len(users)].id,),
                rows=self.rows,
                full_days=(last_day - timedelta(days=1),) if self.full_days else (),
                cap_days=(last_day - timedelta(days=2),) if self.full_days else (),
            )
            for n in range(1, self.properties + 1)
        )
        return SimulatorSettings(
            sites=sites, users=users, seed=self.seed, latency_s=self.latency_s, quotas=Quotas(), token_lifetime_s=600
        )


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator that answers, and the catalog that goes with it."""

    root: str
    process: Process
    catalog: Path


def start_simulator(
    settings: SimulatorSettings,
    folder: Path,
    reports: Sequence[Mapping[str, object]] = REPORTS,
    listening: Sequence[str] = (),
) -> RunningSimulator:
    """Start the simulator as a process and write catalog and credential files for it. Raises LabError.

    Its keys are kept in the folder, too: started there again, it takes the credentials that it gave before.
    `listening`: its options `--host`, `--port` and `--root`; by default it takes a free port of this machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, ready = folder / "simulator.json", folder / "simulator.log"
    ready.unlink(missing_ok=True)
    config.write_bytes(msgspec.json.encode(settings))
    kept = ["--config", str(config), "--keys", str(folder / "simulator-keys")]
    argv = [*PYTHON, "-m", "lab.search_console", *kept, *listening]
    process = Process(Command("the Search Console simulator", argv, ready, inherited()))
    process.await_ready(lambda: _roots_in(ready) != [], READY_S)
    [root] = _roots_in(ready)
    return RunningSimulator(root, process, _write_catalog(settings, root, folder, reports))


def _roots_in(log: Path) -> list[str]:
    """What it has told of itself, among what else may be in its log."""
    lines = log.read_text(errors="replace").splitlines(keepends=True)
    return [json.loads(line)["root"] for line in lines if line.startswith('{"root"') and line.endswith("\n")]


def _write_catalog(
    settings: SimulatorSettings, root: str, folder: Path, reports: Sequence[Mapping[str, object]]
) -> Path:
    credentials = []
    for number, user in enumerate(settings.users, start=1):
        file = folder / f"reader-{number}.json"
        info = httpx.get(f"{root}/_sim/credentials/{user.id}").raise_for_status().json()
        if source := info.get("credential_source"):
            token = folder / f"reader-{number}.token"
            _write(token, httpx.get(f"{root}/_sim/subject-token/{user.id}").raise_for_status().text)
            source["file"] = str(token)
        _write(file, json.dumps(info))
        credentials.append({"id": f"reader-{number}", "type": user.kind, "file": file.name})
    by_user = {user.id: entry["id"] for user, entry in zip(settings.users, credentials, strict=True)}
    properties = [{"url": site.url, "credential": by_user[site.users[0]]} for site in settings.sites]
    catalog = folder / "catalog.yaml"
    whole = {"credentials": credentials, "properties": properties, "reports": [*map(dict, reports)]}
    _write(catalog, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))
    return catalog


def _write(path: Path, text: str) -> None:
    """As a whole: services that run may read it at any moment."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
