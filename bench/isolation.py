"""One credential in trouble, five that must not notice: calls at the quota, in turn under every kind of trouble."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from bench.environment import running_environment, running_pipeline, start_fetcher, wait_until_finished
from bench.results import log_progress, write
from lab.call_log import Call
from lab.driver import Driver
from lab.scenario import Scenario, last_day
from lab.search_console.settings import Quotas
from pipeline.clock import monotonic, now
from pipeline.pacific import pacific_date
from pipeline.publisher import open_publisher, publish_request
from producer.sync_request import build_request

CREDENTIALS = 6
PROPERTIES = 1200
"""200 for each credential, so that one of them can lose that many."""
SCENARIO = Scenario(days=45, properties=PROPERTIES, credentials=CREDENTIALS, rows=5, latency_s=2.0, full_days=False)
CONCURRENCY = "64"
SETTLE_S = 30.0
"""After a change of the fetchers' group: the buckets start empty."""
RECOVERY_S = 30.0
"""Between two troubles: the victim works again, and its rate has climbed."""
DAILY_AFTER_S = 20.0
"""A daily request of a healthy credential is made so long after the trouble has begun."""


@dataclass
class Victim:
    """The credential in trouble: number `number` of the scenario, from 1."""

    number: int
    driver: Driver

    @property
    def user(self) -> str:
        """The simulator's name of the credential."""
        return f"reader-{self.number}@example.com"

    @property
    def credential(self) -> str:
        """The catalog's name of the credential."""
        return f"reader-{self.number}"

    def fail(self, kind: str, **selectors: object) -> None:
        """Make the simulator answer this credential's calls with a fault."""
        self.driver.post("faults", [{"kind": kind, "user": self.user, **selectors}])

    @property
    def key_file(self) -> Path:
        """The file of the credential."""
        return self.driver.setup.catalog.with_name(f"{self.credential}.json")


Trouble = Callable[[Victim], Awaitable[None]]


async def throttled(victim: Victim) -> None:
    """Refuse every call of the credential because of its rate."""
    victim.fail("userRateLimitExceeded")


async def dead_token_endpoint(victim: Victim) -> None:
    """Refuse every access token of the credential, and let the present ones expire."""
    victim.fail("503", on="token")
    victim.driver.post("expire-tokens", {"user": victim.user})


async def hanging(victim: Victim) -> None:
    """Let every call of the credential take a minute."""
    victim.fail("stall", seconds=60.0)


async def halted(victim: Victim) -> None:
    """Halt the credential, as an operator does."""
    await victim.driver.set_state(f"credential:{victim.credential}", "halted", "benchmark")


async def broken_key_file(victim: Victim) -> None:
    """Replace the key file by text that is no key, as a failed rotation does, and let the present tokens expire."""
    victim.key_file.with_suffix(".kept").write_bytes(victim.key_file.read_bytes())
    victim.key_file.write_text("not a key")
    victim.driver.post("expire-tokens", {"user": victim.user})


async def lost_permissions(victim: Victim) -> None:
    """Refuse every call of the credential for lack of permission."""
    victim.fail("forbidden")


async def poison(victim: Victim) -> None:
    """Refuse every 20th call of the credential as invalid."""
    victim.fail("400", every=20)


TROUBLES: tuple[Trouble, ...] = (
    throttled,
    dead_token_endpoint,
    hanging,
    halted,
    broken_key_file,
    lost_permissions,
    poison,
)


@dataclass(frozen=True)
class Phase:
    """One trouble, and when it began and ended on the monotonic clock."""

    name: str
    user: str
    began: float
    ended: float
    daily_wait_s: float = 0.0


def run(minutes: float) -> None:
    """Run undisturbed, then under every trouble for the minutes, and write the figures."""
    with (
        running_environment(SCENARIO, Quotas()) as environment,
        running_pipeline(environment, "isolation", GSC_MAX_CONCURRENCY=CONCURRENCY) as driver,
    ):
        for number in range(1, 4):
            start_fetcher(driver, f"fetcher-{number}")
        write("isolation", asyncio.run(_measure(driver, minutes * 60)))


async def _measure(driver: Driver, seconds: float) -> dict[str, Any]:
    backlog = await driver.request_sync(SCENARIO.days)
    log_progress("waiting for the first call")
    while not driver.calls():
        await asyncio.sleep(0.5)
    await asyncio.sleep(SETTLE_S)
    base = await _phase(driver, "undisturbed", "", seconds, 0)
    phases = []
    for number, trouble in enumerate(TROUBLES):
        victim = Victim(number % CREDENTIALS + 1, driver)
        await trouble(victim)
        phases.append(await _phase(driver, trouble.__name__, victim.user, seconds, number))
        await _heal(victim)
        await asyncio.sleep(RECOVERY_S)
    calls = driver.calls()
    return _figures(calls, base, phases) | await _lost(driver, backlog)


async def _phase(driver: Driver, name: str, user: str, seconds: float, number: int) -> Phase:
    """Let a trouble last for the seconds; meanwhile request one day of a healthy property."""
    log_progress(f"{name}: {user or 'every credential at its quota'}")
    began = monotonic()
    await asyncio.sleep(min(DAILY_AFTER_S, seconds / 2))
    wait = await _daily_wait(driver, user, number, seconds)
    await asyncio.sleep(max(0.0, began + seconds - monotonic()))
    return Phase(name, user, began, monotonic(), wait)


async def _daily_wait(driver: Driver, user: str, number: int, deadline_s: float) -> float:
    """Return the seconds from a daily request of a healthy credential to its first call; the deadline at most."""
    healthy = next(site for site, owner in _owners(driver).items() if owner != user)
    day = last_day() - timedelta(days=SCENARIO.days + 1 + number)
    fields = {"start": day.isoformat(), "end": day.isoformat(), "properties": [healthy], "priority": "daily"}
    request = build_request(fields, now=now(), today=pacific_date(now()), requested_by="bench")
    began, known = monotonic(), len(driver.calls())
    async with open_publisher(driver.setup.kafka, "gsc-bench") as publisher:
        await publish_request(publisher, driver.setup.prefix, request)
    while monotonic() < began + deadline_s:
        if arrived := [call["arrived"] for call in driver.calls(known) if _is_of(call, healthy, day)]:
            return float(min(arrived)) - began
        await asyncio.sleep(0.2)
    return deadline_s


def _owners(driver: Driver) -> dict[str, str]:
    return {site.url: site.users[0] for site in SCENARIO.simulator(last_day()).sites}


def _is_of(call: Call, site: str, day: date) -> bool:
    return bool(call["site"] == site and call["day"] == day.isoformat())


async def _heal(victim: Victim) -> None:
    """End the trouble, and resume what it has halted, as an operator does."""
    driver = victim.driver
    driver.post("faults", [])
    kept = victim.key_file.with_suffix(".kept")
    if kept.exists():
        kept.replace(victim.key_file)
    await driver.resume_all("benchmark")


def _figures(calls: list[Call], base: Phase, phases: list[Phase]) -> dict[str, Any]:
    users = [f"reader-{number}@example.com" for number in range(1, CREDENTIALS + 1)]
    before = {user: _rate(calls, base, user) for user in users}
    troubles = {}
    for phase in phases:
        others = [user for user in users if user != phase.user]
        rates = {user: _rate(calls, phase, user) for user in others}
        troubles[phase.name] = {
            "others_throughput": round(sum(rates.values()) / sum(before[user] for user in others), 4),
            "others_calls_per_minute": round(sum(rates.values()), 1),
            "least_of_one_credential": round(min(rates[user] / before[user] for user in others), 4),
            "daily_wait_s": round(phase.daily_wait_s, 2),
        }
    return {
        "others_throughput_min": min(trouble["others_throughput"] for trouble in troubles.values()),
        "daily_wait_max_s": max(trouble["daily_wait_s"] for trouble in troubles.values()),
        "undisturbed_calls_per_minute": {user: round(rate, 1) for user, rate in before.items()},
        "troubles": troubles,
    }


def _rate(calls: list[Call], phase: Phase, user: str) -> float:
    """Return the calls a minute of a credential in a phase."""
    count = sum(phase.began <= call["arrived"] < phase.ended for call in calls if call["user"] == user)
    return float(60 * count / (phase.ended - phase.began))


async def _lost(driver: Driver, backlog: str) -> dict[str, int]:
    """Cancel what is left of the backlog; return the pages that are dead and were not refused as invalid."""
    await driver.cancel(backlog)
    pages = await wait_until_finished(driver, backlog)
    dead = pages.get("dead", 0)
    poisoned = sum(call["fault"] == "400" for call in driver.calls())
    return {"pages": sum(pages.values()), "dead": dead, "poisoned": poisoned, "lost": max(0, dead - poisoned)}
