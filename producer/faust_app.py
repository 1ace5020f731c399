"""Requests in: a Faust agent that writes each to the ledger before its offset is committed."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import faust

from pipeline.clock import PACIFIC
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.kafka import group_id
from pipeline.settings import KafkaSettings, kafka_variable

Take = Callable[[Record], Awaitable[None]]

HEARTBEAT_SHARE = 0.3
_SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SECURITY = frozenset(
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
    }
)
"""What Faust's client can be given, too."""


def build_app(settings: KafkaSettings, topic: str, take: Take) -> faust.App:
    """The app: one agent, one event at a time, no tables. `take` must not return before the request is safe."""
    servers = settings.kafka["bootstrap.servers"].split(",")
    app = faust.App(
        group_id(settings.topic_prefix, "producer"),
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=credentials(settings.kafka),
        # Faust's 60 s would leave a killed planner's partition alone for a minute.
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s * HEARTBEAT_SHARE,
        broker_commit_interval=0.5,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,  # no topics of Faust's own
        topic_allow_declare=False,  # ours come from `gsc-stream topics`
        web_enabled=False,  # the HTTP face is the same in every service
        store="memory://",
        # Faust makes folders even without tables; the working directory may be read-only, and is not ours.
        datadir=Path(gettempdir()) / "gsc-stream-faust",
    )
    requests = app.topic(topic, key_serializer="raw", value_serializer="raw")

    @app.agent(requests, concurrency=1, name="intake")
    async def intake(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            await take(
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


def at_times(app: faust.App, cron: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` at the times of a cron line, in Pacific time: Search Console's days end there."""

    @app.crontab(cron, timezone=PACIFIC)
    async def timer() -> None:
        await work()


def credentials(configuration: Mapping[str, str]) -> Any:
    """librdkafka's security settings as Faust's. Raises Invalid for what Faust cannot do."""
    for name in configuration:
        if name.startswith(("security.", "sasl.", "ssl.", "enable.sasl.", "enable.ssl.")) and name not in _SECURITY:
            raise Invalid(f"the planner's client does not know {name}", field=kafka_variable(name))
    protocol = configuration.get("security.protocol", "plaintext").upper()
    context = _ssl_context(configuration) if protocol.endswith("SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = configuration.get("sasl.mechanism", configuration.get("sasl.mechanisms", ""))
    if mechanism not in _SASL:
        raise Invalid(f"{mechanism!r}: the planner takes {', '.join(_SASL)}", field=kafka_variable("sasl.mechanism"))
    return faust.SASLCredentials(
        username=configuration.get("sasl.username"),
        password=configuration.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _ssl_context(configuration: Mapping[str, str]) -> ssl.SSLContext:
    ca, certificate = configuration.get("ssl.ca.location"), configuration.get("ssl.certificate.location")
    key, password = configuration.get("ssl.key.location"), configuration.get("ssl.key.password")
    try:
        context = ssl.create_default_context(cafile=ca, cadata=configuration.get("ssl.ca.pem"))
    except OSError as error:  # of which SSLError is one
        raise Invalid(f"{error}, got {ca!r}", field=kafka_variable("ssl.ca.location")) from error
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
