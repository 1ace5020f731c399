"""The Faust application of the producer: one agent that processes each sync request before its offset is committed."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import faust
from faust.transport.consumer import CONSUMER_FETCHING

from pipeline.clock import monotonic
from pipeline.contracts.records import Record
from pipeline.errors import Fatal, Invalid
from pipeline.kafka import group_id
from pipeline.log import logger
from pipeline.pacific import PACIFIC
from pipeline.process import event_or_timeout
from pipeline.settings import KafkaSettings, kafka_variable
from pipeline.watchdog import Heartbeat
from producer.intake import Intake
from producer.oidc_tokens import OIDC_SETTINGS, OidcTokens, oidc_client

Process = Callable[[Record], Awaitable[None]]

HEARTBEAT_SHARE = 0.3
CHECK_EVERY_S = 0.5
STOP_S = 10.0
_log = logger(__name__)
_OAUTH = "OAUTHBEARER"
_SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", _OAUTH)
_SECURITY = OIDC_SETTINGS | frozenset(
    {
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "https.ca.pem",
    }
)
"""The security settings that Faust's client supports."""
_SECURITY_PREFIXES = ("security.", "sasl.", "ssl.", "https.", "enable.sasl.", "enable.ssl.")


def build_app(settings: KafkaSettings, topic: str, process: Process) -> faust.App:
    """Return the app: one agent, one event at a time, no tables. `process` returns only when the request is stored."""
    servers = settings.kafka["bootstrap.servers"].split(",")
    app = faust.App(
        group_id(settings.topic_prefix, "producer"),
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=credentials(settings.kafka),
        # With Faust's 60 s the partition of a killed producer would have no owner for a minute.
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s * HEARTBEAT_SHARE,
        broker_commit_interval=0.5,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,  # Faust must not create topics
        topic_allow_declare=False,  # `gsc-stream topics` creates them
        web_enabled=False,  # pipeline.health serves HTTP
        store="memory://",
        # Faust creates folders even without tables, and the working directory may be read-only.
        datadir=Path(gettempdir()) / "gsc-stream-faust",
    )
    requests = app.topic(topic, key_serializer="raw", value_serializer="raw")

    @app.agent(requests, concurrency=1, name="intake")
    async def intake(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            await process(
                Record(
                    topic=message.topic,
                    partition=message.partition,
                    offset=message.offset,
                    key=message.key,
                    value=message.value,
                    timestamp_ms=round((message.timestamp or 0) * 1000),
                )
            )

    return app


def schedule(app: faust.App, cron: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` at the times of a cron line, in Pacific time, in which Search Console's days end."""

    @app.crontab(cron, timezone=PACIFIC)
    async def timer() -> None:
        await work()


def credentials(configuration: Mapping[str, str]) -> Any:
    """Return Faust's credentials for librdkafka's security settings. Raises Invalid for what Faust does not support."""
    for name in configuration:
        if name.startswith(_SECURITY_PREFIXES) and name not in _SECURITY:
            raise Invalid(f"the producer's client (Faust) does not support {name}", field=kafka_variable(name))
    protocol = configuration.get("security.protocol", "plaintext").upper()
    context = _ssl_context(configuration) if protocol.endswith("SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = configuration.get("sasl.mechanism", configuration.get("sasl.mechanisms", ""))
    if mechanism not in _SASL:
        raise Invalid(
            f"the producer supports {', '.join(_SASL)}, got {mechanism!r}", field=kafka_variable("sasl.mechanism")
        )
    if mechanism == _OAUTH:
        verify = _tls_context(configuration, "https.ca.location", "https.ca.pem")
        return faust.OAuthCredentials(oauth_cb=OidcTokens(oidc_client(configuration), verify), ssl_context=context)
    return faust.SASLCredentials(
        username=configuration.get("sasl.username"),
        password=configuration.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _ssl_context(configuration: Mapping[str, str]) -> ssl.SSLContext:
    certificate = configuration.get("ssl.certificate.location")
    key, password = configuration.get("ssl.key.location"), configuration.get("ssl.key.password")
    context = _tls_context(configuration, "ssl.ca.location", "ssl.ca.pem")
    if configuration.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if configuration.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if certificate:
            context.load_cert_chain(certificate, key, password)
    except OSError as error:
        raise Invalid(f"{error}, got {certificate!r}", field=kafka_variable("ssl.certificate.location")) from error
    return context


def _tls_context(configuration: Mapping[str, str], file_setting: str, pem_setting: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities of these settings, or else those of the system."""
    ca = configuration.get(file_setting)
    try:
        return ssl.create_default_context(cafile=ca, cadata=configuration.get(pem_setting))
    except OSError as error:  # of which SSLError is one
        raise Invalid(f"{error}, got {ca!r}", field=kafka_variable(file_setting)) from error


@dataclass(frozen=True)
class ConsumerWatch:
    """Whether the consumer hangs or waits for Kafka: only without Kafka may it ask for no records."""

    heartbeat: Heartbeat
    kafka_answers: Callable[[float], bool]

    def look(self, app: faust.App, now: float) -> None:
        """Record that the app's consumer works."""
        self.heartbeat.beat(last_fetch(app) if self.kafka_answers(now) else now)


async def run_app(app: faust.App, intake: Intake, stop: asyncio.Event, watch: ConsumerWatch) -> None:
    """Run the app in this event loop until `stop`. Raises the failure of the intake, or Fatal when Faust crashes."""
    try:
        await app.start()
        while not await event_or_timeout(stop, CHECK_EVERY_S):
            watch.look(app, monotonic())
            if intake.failure is not None:
                raise intake.failure
            if app.crashed:
                raise Fatal(f"Faust crashed: {app.crash_reason!r}")
    finally:
        if intake.failure is None:  # otherwise Faust would wait for the request that failed
            await _stop(app)


def last_fetch(app: faust.App) -> float:
    """Return when Faust's consumer last asked for records, on the monotonic clock. It does so every second."""
    return float(app.consumer.diag.last_transition.get(CONSUMER_FETCHING, float("-inf")))


async def _stop(app: faust.App) -> None:
    try:
        async with asyncio.timeout(STOP_S):
            await app.stop()
    except TimeoutError:
        _log.warning("stop_cut_short", seconds=STOP_S)
