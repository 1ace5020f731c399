"""Silence: PostgreSQL, then Kafka, stop answering behind a proxy. When do the services notice, who takes over, what is
lost?"""

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.environment import Environment, count_lost, running_environment, running_pipeline
from bench.results import log_progress, write
from lab.broker import BrokerOptions, running_broker
from lab.driver import Driver, all_finished
from lab.local_pipeline import start_service
from lab.processes import Process, free_port
from lab.scenario import Scenario
from lab.tcp_proxy import TcpProxy, running_proxy
from pipeline.clock import monotonic

POLL_S = 0.1
GIVE_UP_S = 180.0
KAFKA_SILENCE_S = 45.0
SCENARIO = Scenario(days=400, properties=4, rows=5, latency_s=1.0, full_days=False)
SETTINGS = {"GSC_MAX_CONCURRENCY": "4", "GSC_MAX_QUEUE_SIZE": "50"}
SERVICES = ("leader", "standby", "sink", "fetcher")
Condition = Callable[[], Awaitable[bool]]


@dataclass
class Supervised:
    """The services of a pipeline, each started again a second after it has ended, as a supervisor does."""

    driver: Driver
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})
    commands: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """Kind and settings of each service that must run."""
    restarts: int = 0

    def start(self, name: str, kind: str, **settings: str) -> Process:
        """Start a service, and restart it from now on."""
        self.commands[name] = kind, settings
        return self._start(name)

    def _start(self, name: str) -> Process:
        kind, settings = self.commands[name]
        folder = self.driver.setup.folder / name
        folder.mkdir(exist_ok=True)
        environment = {**self.driver.setup.environment, **settings, "GSC_HTTP_PORT": str(self.ports[name])}
        process = start_service(kind, environment, folder)
        self.driver.services.processes[name] = process
        return process

    async def supervise(self) -> None:
        """Restart services that have ended, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            for name in self.commands:
                if not self.driver.services.processes[name].running:
                    log_progress(f"{name} has ended and is started again")
                    self.restarts += 1
                    await asyncio.to_thread(self._start, name)

    async def stop(self, name: str) -> float:
        """Send SIGTERM; return the seconds until the service has ended."""
        del self.commands[name]
        process, began = self.driver.services.processes[name], monotonic()
        process.signal(signal.SIGTERM)
        while process.running:
            await asyncio.sleep(POLL_S)
        return monotonic() - began

    async def is_ready(self, name: str) -> bool:
        """Return whether a service says that it is ready."""
        return (await self._get(name, "ready")) is not None

    async def metric(self, name: str, metric: str) -> float:
        """Return the value of a metric without labels; 0 when it is missing."""
        match = re.search(rf"^{metric} (\S+)$", await self._get(name, "metrics") or "", re.MULTILINE)
        return float(match.group(1)) if match else 0.0

    async def _get(self, name: str, path: str) -> str | None:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                response = await client.get(f"http://127.0.0.1:{self.ports[name]}/{path}")
        except httpx.TransportError:
            return None
        return response.text if response.is_success else None


async def seconds_until(condition: Condition, began: float) -> float | None:
    """Return the seconds from `began` until the condition holds; None when it does not within GIVE_UP_S."""
    while monotonic() - began < GIVE_UP_S:
        if await condition():
            return round(monotonic() - began, 1)
        await asyncio.sleep(POLL_S)
    return None


def run() -> None:
    """Measure, and write the figures."""
    with _servers() as (environment, kafka), running_pipeline(environment, "silence", **SETTINGS) as driver:
        for process in driver.services.processes.values():
            process.stop()
        with _postgres_proxy(driver) as postgres:
            write("silence", asyncio.run(_measure(Supervised(driver), postgres, kafka)))


@contextmanager
def _servers() -> Iterator[tuple[Environment, TcpProxy]]:
    """Run a Kafka that clients reach through a proxy, and the other servers."""
    port = free_port()
    advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"}
    with running_broker(BrokerOptions(properties=advertised), log_progress) as broker:
        target = int(broker.bootstrap_servers.rpartition(":")[2])
        with (
            running_proxy(target, port) as proxy,
            running_environment(SCENARIO, kafka=f"127.0.0.1:{port}") as environment,
        ):
            yield environment, proxy


@contextmanager
def _postgres_proxy(driver: Driver) -> Iterator[TcpProxy]:
    with running_proxy(int(conninfo_to_dict(driver.setup.servers.dsn).get("port") or 5432)) as proxy:
        yield proxy


async def _measure(services: Supervised, postgres: TcpProxy, kafka: TcpProxy) -> dict[str, object]:
    driver = services.driver
    proxied = make_conninfo(driver.setup.servers.dsn, port=postgres.port)
    services.start("leader", "producer", GSC_POSTGRES_DSN=proxied)
    services.start("sink", "sink", GSC_POSTGRES_DSN=proxied)
    services.start("fetcher", "fetcher")
    supervisor = asyncio.create_task(services.supervise())
    await seconds_until(lambda: _is_leader(services, "leader"), monotonic())
    services.start("standby", "producer")
    run_ = await driver.request_sync(SCENARIO.days)
    await _all_ready(services)
    await _progress(driver, run_)
    figures: dict[str, object] = await _silent_postgres(services, postgres, run_)
    figures |= {"sigterm_s": await _sigterm(services, postgres, proxied)}
    await _all_ready(services)
    figures |= await _silent_kafka(services, kafka, run_)
    figures |= {"restarts": services.restarts, "lost": await _count_lost(driver, run_)}
    supervisor.cancel()
    return figures


async def _silent_postgres(services: Supervised, postgres: TcpProxy, run_: str) -> dict[str, object]:
    """Freeze the open connections of leader and sink; new ones work. The standby has a direct one."""
    log_progress("PostgreSQL goes silent")
    postgres.freeze_open()
    began = monotonic()
    sink, producer, standby = await asyncio.gather(
        seconds_until(lambda: _not_ready(services, "sink"), began),
        seconds_until(lambda: _not_ready(services, "leader"), began),
        seconds_until(lambda: _publishes(services, "standby"), began),
    )
    recovered = await _recovered(services, run_, began)
    postgres.resume()
    return {
        "sink_not_ready_s": sink,
        "producer_not_ready_s": producer,
        "standby_publishing_s": standby,
        "recovered_s": recovered,
    }


async def _sigterm(services: Supervised, postgres: TcpProxy, proxied: str) -> float:
    """Stop the sink while its connection is frozen, and new ones too; return the seconds, and start it again."""
    log_progress("the sink is stopped while PostgreSQL is silent")
    postgres.freeze_all()
    await asyncio.sleep(1.0)
    seconds = await services.stop("sink")
    postgres.resume()
    services.start("sink", "sink", GSC_POSTGRES_DSN=proxied)
    return round(seconds, 1)


async def _silent_kafka(services: Supervised, kafka: TcpProxy, run_: str) -> dict[str, object]:
    """Freeze all connections to Kafka for KAFKA_SILENCE_S."""
    log_progress("Kafka goes silent")
    kafka.freeze_all()
    began = monotonic()
    times = await asyncio.gather(
        *(seconds_until(lambda name=name: _not_ready(services, name), began) for name in SERVICES)  # type: ignore[misc]
    )
    await asyncio.sleep(max(0.0, KAFKA_SILENCE_S - (monotonic() - began)))
    kafka.resume()
    resumed = monotonic()
    return {
        "kafka_not_ready_s": dict(zip(SERVICES, times, strict=True)),
        "kafka_recovered_s": await _recovered(services, run_, resumed),
    }


async def _recovered(services: Supervised, run_: str, began: float) -> float | None:
    """Return the seconds from `began` until every service is ready and pages are applied again."""
    await _all_ready(services)
    await _progress(services.driver, run_)
    return round(monotonic() - began, 1)


async def _all_ready(services: Supervised, names: Sequence[str] = SERVICES) -> None:
    async def all_ready() -> bool:
        return all([await services.is_ready(name) for name in names])

    await seconds_until(all_ready, monotonic())


async def _progress(driver: Driver, run_: str) -> None:
    """Wait until more pages are applied than now."""
    before = (await driver.pages(run_)).get("applied", 0)

    async def more() -> bool:
        return (await driver.pages(run_)).get("applied", 0) > before

    await seconds_until(more, monotonic())


async def _not_ready(services: Supervised, name: str) -> bool:
    return not await services.is_ready(name)


async def _is_leader(services: Supervised, name: str) -> bool:
    return await services.metric(name, "gsc_producer_leader") == 1


async def _publishes(services: Supervised, name: str) -> bool:
    return await services.metric(name, "gsc_pages_published_total") > 0


async def _count_lost(driver: Driver, run_: str) -> int:
    """Wait until the run is finished; return the pages that are not applied plus the days that differ."""
    log_progress("waiting until every page is finished")
    driver.post("settings", {"latency_s": 0.0})

    async def finished() -> bool:
        return all_finished(await driver.pages(run_))

    while await seconds_until(finished, monotonic()) is None:
        log_progress(str(await driver.pages(run_)))
    return await count_lost(driver, await driver.pages(run_), SCENARIO.days)
